//! In a cluster started by `lastseat dev`: passes what the console's buttons want on to the process that keeps the nodes.
//! Anywhere else these routes are not there.

use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use utoipa::ToSchema;

use super::Api;
use super::problem::{Problem, ProblemBody, ProblemCode};
use super::reading::NoQuery;
use super::reply::{Reply, json};
use super::request::Call;

/// Longest answer of the keeper that is passed on, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// The keeper is on this machine and only hands over.
const PATIENCE: Duration = Duration::from_secs(5);

/// The nodes of a `dev` cluster.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "only a schema: the keeper writes it")]
pub(super) struct DevNodes {
    nodes: Vec<DevNode>,
}

/// A node as the process that keeps it sees it.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "only a schema: the keeper writes it")]
pub(super) struct DevNode {
    id: u64,
    /// Its API.
    api: String,
    /// `running`, `paused` or `dead`.
    state: String,
}

/// The nodes' processes. Only in a `dev` cluster.
#[utoipa::path(
    get, path = "/dev/nodes", tag = "dev",
    responses(
        (status = 200, description = "The nodes", body = DevNodes),
        (status = "default", description = "`route_not_found`: this is no `dev` cluster", body = ProblemBody,
         content_type = "application/problem+json")
    )
)]
pub(super) async fn nodes(State(api): State<Api>, call: Call) -> Reply {
    let _: NoQuery = call.query()?;
    Ok(json(200, ask(&api, "nodes").await?))
}

/// Kills (`kill -9`), pauses, continues or restarts a node's process. Only in a `dev` cluster, and only from a page of this
/// node or from no page at all.
#[utoipa::path(
    post, path = "/dev/nodes/{id}/{action}", tag = "dev",
    params(("id" = u64, Path), ("action" = String, Path, description = "`kill`, `pause`, `continue` or `restart`")),
    responses(
        (status = 204, description = "Handed over"),
        (status = "default", description = "No such node or action, or this is no `dev` cluster", body = ProblemBody,
         content_type = "application/problem+json")
    )
)]
pub(super) async fn act(State(api): State<Api>, mut call: Call) -> Reply {
    let _: NoQuery = call.query()?;
    call.no_body(&api).await?;
    refuse_foreign_page(&call)?;
    let (id, action) = (call.segment("id")?, call.segment("action")?);
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !plain(id) || !plain(action) {
        return Err(no_such_action());
    }
    match &*ask(&api, &format!("{action} {id}")).await? {
        b"done" => {
            let mut response = json(204, Vec::new());
            response.headers_mut().remove(header::CONTENT_TYPE);
            Ok(response)
        }
        b"busy" => Err(Problem::new(ProblemCode::Overloaded, "The node still has orders to carry out; wait for them.")),
        _ => Err(no_such_action()),
    }
}

fn no_such_action() -> Problem {
    Problem::new(ProblemCode::RouteNotFound, "There is no such node or action; take kill, pause, continue or restart.")
}

/// A page of another site can make a browser send requests here; it must not kill anything.
fn refuse_foreign_page(call: &Call) -> Result<(), Problem> {
    let Some(origin) = call.headers().get(header::ORIGIN) else { return Ok(()) };
    let host = call.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let own = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    if own.is_some() && own == host {
        return Ok(());
    }
    Err(Problem::new(ProblemCode::Forbidden, "Only a page of this node may do this; open the console of this node."))
}

/// Sends one line to the keeper of the nodes and gives its answer.
async fn ask(api: &Api, line: &str) -> Result<Vec<u8>, Problem> {
    let keeper = api.options().dev_control.ok_or_else(|| {
        let detail = "There is no such route: this cluster was not started by `lastseat dev`.";
        Problem::new(ProblemCode::RouteNotFound, detail)
    })?;
    let exchange = async {
        let mut stream = TcpStream::connect(keeper).await?;
        stream.write_all(format!("{line}\n").as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    tokio::time::timeout(PATIENCE, exchange).await.ok().and_then(Result::ok).ok_or_else(|| {
        Problem::new(ProblemCode::Internal, "The process that keeps the nodes does not answer; look at its terminal.")
    })
}
