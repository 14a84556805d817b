//! Every route, once. The router and the OpenAPI document are both made from this list, so neither can have a route that
//! the other lacks.

use axum::body::Bytes;
use axum::handler::Handler;
use axum::http::Method;
use axum::{Extension, Router};
use utoipa::openapi::{
    ComponentsBuilder, ContactBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Paths, RefOr, Schema,
};
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;

use super::backend::Backend;
use super::edge::EdgeLayer;
use super::problem::{Problem, ProblemCode};
use super::unread::Unread;
use super::{
    Api, ApiOptions, batch, cluster, commands, console, dev, docs, events, health, metrics, orders, outcomes, seats,
    streams, webhooks,
};

fn all() -> Vec<UtoipaMethodRouter<Api>> {
    vec![
        routes!(events::list),
        routes!(events::show, events::define, events::change, events::delete),
        routes!(events::audit),
        routes!(commands::reserve),
        routes!(commands::extend),
        routes!(commands::book),
        routes!(commands::release),
        routes!(commands::cancel),
        routes!(commands::block),
        routes!(commands::unblock),
        routes!(batch::batch),
        routes!(outcomes::show),
        routes!(outcomes::void),
        routes!(seats::list),
        routes!(seats::show),
        routes!(streams::event),
        routes!(streams::group),
        routes!(orders::hold),
        routes!(orders::list),
        routes!(orders::order),
        routes!(webhooks::list),
        routes!(webhooks::show, webhooks::set, webhooks::delete),
        routes!(webhooks::rotate),
        routes!(webhooks::pause),
        routes!(webhooks::resume),
        routes!(webhooks::test),
        routes!(webhooks::deliveries),
        routes!(webhooks::redeliver),
        routes!(cluster::show),
        routes!(cluster::state_hash),
        routes!(cluster::init),
        routes!(cluster::add_member),
        routes!(cluster::remove_member),
        routes!(cluster::transfer_leader),
        routes!(health::livez),
        routes!(health::readyz),
        routes!(metrics::scrape),
        routes!(docs::document),
        routes!(docs::page),
        routes!(docs::slash),
        routes!(docs::asset),
        routes!(console::root),
        routes!(console::door),
        routes!(console::entrance),
        routes!(console::asset),
        routes!(dev::nodes),
        routes!(dev::act),
    ]
}

/// The router of a node.
pub(super) fn build(backend: Backend, options: ApiOptions) -> Router {
    let document = openapi().to_json().expect("the document is plain data");
    let api = Api::new(backend, options, Bytes::from(document));
    let mut router = Router::new();
    for (_, paths, methods) in all() {
        let route = paths.paths.keys().next().expect("a route has a path").clone();
        // The layer is put on each route, not around the router, because only here its name is known for free; it also
        // covers the methods that the route does not take.
        let methods = methods.fallback(method_not_allowed).layer(EdgeLayer::new(api.clone(), &route));
        router = router.route(&route, methods);
    }
    router.fallback_service(route_not_found.layer(EdgeLayer::unmatched(api.clone())).with_state(())).with_state(api)
}

/// The OpenAPI 3.1 document of the whole API.
pub fn openapi() -> OpenApi {
    let mut paths = Paths::new();
    let mut schemas: Vec<(String, RefOr<Schema>)> = Vec::new();
    for (mut more_schemas, more_paths, _) in all() {
        paths.merge(more_paths);
        schemas.append(&mut more_schemas);
    }
    let info = InfoBuilder::new()
        .title("lastseat")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("The inventory store that never sells the last seat twice."))
        .license(Some(LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build()))
        .contact(Some(ContactBuilder::new().name(Some("lastseat")).build()));
    let components = ComponentsBuilder::new().schemas_from_iter(schemas).build();
    OpenApiBuilder::new().info(info.build()).paths(paths).components(Some(components)).build()
}

/// Also for what no route could see: a request that cannot be read.
async fn route_not_found(unread: Option<Extension<Unread>>) -> Problem {
    if let Some(Extension(unread)) = unread {
        return unread.into();
    }
    // The path may hold a token: it is not repeated.
    Problem::new(ProblemCode::RouteNotFound, "There is no such route; the routes are listed at /openapi.json.")
}

async fn method_not_allowed(method: Method) -> Problem {
    let detail = format!("The route does not take {method}; the methods it takes are in the Allow header.");
    Problem::new(ProblemCode::MethodNotAllowed, detail)
}
