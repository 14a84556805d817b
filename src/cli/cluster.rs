//! `cluster …`: who takes part.

use lastseat_client::NewNode;

use super::args::{ClusterCommand, Global};
use super::exit::Failure;
use super::output;

pub(super) async fn run(global: &Global, command: ClusterCommand) -> Result<(), Failure> {
    let client = global.client()?;
    let call = match command {
        ClusterCommand::Init { nodes } => client.cluster_init(&nodes),
        ClusterCommand::Join { id, api, peer, region } => client.cluster_join(&NewNode { id, api, peer, region }),
        ClusterCommand::Leave { id } => client.cluster_leave(id),
        ClusterCommand::TransferLeader { to } => client.transfer_leader(to),
        ClusterCommand::Status => {
            let status = global.read(client.cluster()).await?;
            return output::answer(&status, global.output);
        }
    };
    if global.key.is_some() {
        return Err(Failure::usage("changes of the cluster take no --key; leave it out"));
    }
    global.command(call).await
}
