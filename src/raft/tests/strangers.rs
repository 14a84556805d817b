//! Who belongs to the cluster, who comes and who goes.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_is_added_and_another_removed_for_ever() {
    let mut cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    for n in 0..100 {
        cluster.write(&format!("e{n}")).await;
    }
    cluster.nodes.push(Node::new(4).await);
    let new = cluster.nodes[3].as_new();
    cluster.nodes[leader].raft().add_member(new.clone()).await.unwrap();
    assert!(cluster.nodes[leader].raft().view().voters.contains(&4));
    cluster.nodes[3].raft().read_barrier(soon()).await.unwrap();
    assert_eq!(cluster.nodes[3].revision(), 100);
    let again = cluster.nodes[leader].raft().add_member(new).await;
    assert!(matches!(again, Err(MembershipError::Refused(_))), "{again:?}");

    let gone = cluster.followers(leader)[0];
    let id = cluster.nodes[gone].id;
    cluster.nodes[leader].raft().remove_member(id).await.unwrap();
    eventually("the removed node knows it", || cluster.nodes[gone].raft().view().removed).await;
    let asked = Instant::now();
    let read = cluster.nodes[gone].raft().read_barrier(soon()).await;
    assert!(matches!(read, Err(BarrierError::Removed)) && asked.elapsed() < Duration::from_secs(1), "{read:?}");
    assert!(!cluster.nodes[leader].raft().view().removed);
    cluster.nodes[gone].stop().await;
    // Even if it hears it from the others alone, after a restart.
    cluster.nodes[gone].start().await;
    eventually("it knows it again", || cluster.nodes[gone].raft().view().removed).await;
    cluster.nodes[gone].stop().await;
    cluster.nodes[gone].wipe();
    cluster.nodes[gone].start().await;
    let back = cluster.nodes[leader].raft().add_member(cluster.nodes[gone].as_new()).await;
    assert!(matches!(&back, Err(MembershipError::Refused(why)) if why.contains("never reused")), "{back:?}");
    cluster.write("after").await;
    assert!(!cluster.nodes[leader].raft().view().voters.contains(&id));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_can_remove_itself() {
    let mut cluster = Cluster::new(3).await;
    let old = cluster.leader().await;
    let id = cluster.nodes[old].id;
    cluster.nodes[old].raft().remove_member(id).await.unwrap();
    let rest = cluster.followers(old);
    eventually("another leads", || rest.iter().any(|at| cluster.nodes[*at].raft().view().is_leader)).await;
    cluster.nodes[old].stop().await;
    cluster.leader().await;
    cluster.write("after").await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_has_confirmed_nothing_yet_waits_before_it_changes_the_members() {
    // Half a second passes from its election to its first commit.
    let way = |lane| Duration::from_millis(if lane == Lane::Append { 500 } else { 0 });
    let (cluster, _relays) = relay::relayed(3, move |_, lane, _| way(lane)).await;
    let leader = cluster.leader().await;
    let gone = cluster.nodes[cluster.followers(leader)[0]].id;
    cluster.nodes[leader].raft().remove_member(gone).await.unwrap();
    let voters = cluster.nodes[leader].raft().view().voters.clone();
    assert!(voters.len() == 2 && !voters.contains(&gone), "{voters:?}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_a_change_of_members_is_refused_and_not_left_waiting() {
    let mut cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    let gone = cluster.followers(leader);
    for at in &gone {
        cluster.nodes[*at].stop().await;
    }
    let refused = cluster.nodes[leader].raft().remove_member(cluster.nodes[gone[0]].id).await;
    assert!(
        matches!(&refused, Err(MembershipError::Refused(why)) if why.contains("nothing was changed")),
        "{refused:?}"
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_node_does_not_come_back_under_its_id() {
    let mut cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    cluster.write("before").await;
    let wiped = cluster.followers(leader)[0];
    cluster.nodes[wiped].stop().await;
    cluster.nodes[wiped].wipe();
    cluster.nodes[wiped].start().await;
    let target = target_of(
        cluster.nodes[wiped].id,
        &cluster.nodes[leader].raft().view().members.iter().find(|m| m.0 == cluster.nodes[wiped].id).unwrap().1,
    );
    // It was adopted by nobody: it refuses, and is refused.
    let me = &cluster.nodes[leader].raft().core.me;
    let refused = link::open(me, Lane::Control, &target.peer, Some(&target)).await.unwrap_err();
    assert!(refused.to_string().contains("no cluster yet"), "{refused}");
    // Even with the right cluster id.
    let cluster_id = cluster.nodes[leader].raft().view().cluster_id.unwrap();
    cluster.nodes[wiped].raft().core.adopt(cluster_id, cluster.nodes[wiped].id).await.unwrap();
    let refused = link::open(me, Lane::Control, &target.peer, Some(&target)).await.unwrap_err();
    assert!(refused.to_string().contains("incarnation"), "{refused}");
    let leads = target_of(cluster.nodes[leader].id, &cluster.nodes[leader].raft().view().leader.clone().unwrap().1);
    let wiped_me = &cluster.nodes[wiped].raft().core.me;
    let refused = link::open(wiped_me, Lane::Control, &leads.peer, Some(&leads)).await.unwrap_err().to_string();
    assert!(refused.contains("not the node"), "{refused}");
    // Who is refused does not learn what it would need to pass for that node.
    assert!(!refused.contains(&target.incarnation.to_string()), "{refused}");
    cluster.write("after").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(cluster.nodes[wiped].revision(), 0);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_another_cluster_are_refused() {
    let ours = Cluster::new(1).await;
    let theirs = Cluster::new(1).await;
    let me = &ours.nodes[0].raft().core.me;
    let (id, member) = theirs.nodes[0].raft().view().leader.clone().unwrap();
    let refused = link::open(me, Lane::Append, &member.peer, Some(&target_of(id, &member))).await.unwrap_err();
    assert!(refused.to_string().contains("belongs to cluster"), "{refused}");
    let taken = ours.nodes[0].raft().add_member(NewMember { id: 2, ..theirs.nodes[0].as_new() }).await;
    assert!(matches!(taken, Err(MembershipError::Refused(_))), "{taken:?}");
    ours.stop().await;
    theirs.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_made_only_once_and_only_of_whom_was_meant() {
    let mut nodes = vec![Node::new(1).await, Node::new(2).await];
    let mut members: Vec<_> = nodes.iter().map(Node::as_new).collect();
    members[1].id = 7;
    let wrong = nodes[0].raft().init_cluster(members.clone()).await;
    assert!(matches!(&wrong, Err(MembershipError::Refused(why)) if why.contains("is node 2")), "{wrong:?}");
    members[1].id = 2;
    let made = nodes[0].raft().init_cluster(members.clone()).await.unwrap();
    assert_eq!(nodes[1].raft().view().cluster_id, Some(made));
    let again = nodes[0].raft().init_cluster(members.clone()).await;
    assert!(matches!(again, Err(MembershipError::Refused(_))), "{again:?}");
    for node in &mut nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_cluster_serves_nothing() {
    let mut node = Node::new(1).await;
    assert!(matches!(write(node.raft(), "e").await, Err(why) if why.contains("does not lead")));
    let read = node.raft().read_barrier(Instant::now() + Duration::from_millis(200)).await;
    assert!(matches!(read, Err(BarrierError::Recovering)), "{read:?}");
    assert_eq!(node.raft().staleness_ms(), None);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_take_no_room_from_the_members_and_leave_nothing_behind() {
    let cluster = Cluster::new(3).await;
    let leader = cluster.leader().await;
    let victim = cluster.nodes[cluster.followers(leader)[0]].raft();
    let core = &victim.core;
    let seen = cluster.nodes[leader].raft().view();
    let target = target_of(core.me.node_id, &seen.members.iter().find(|m| m.0 == core.me.node_id).unwrap().1);
    let half_of = async |id: u64, length: usize| {
        let opened = link::open(&core.me.stranger(id), Lane::Append, &target.peer, Some(&target)).await;
        let (mut socket, _) = opened.map_err(|e| e.to_string())?;
        let mut head = vec![0; 16];
        head[..4].copy_from_slice(&(length as u32).to_le_bytes());
        socket.write_all(&head).await.unwrap();
        // The other side may have had enough of it already.
        let _ = socket.write_all(&vec![0; length / 2]).await;
        Ok::<_, String>(socket)
    };
    // A message that only a member may send is refused by its length.
    let mut big = half_of(1_000, 8 << 20).await.unwrap();
    let mut byte = [0];
    let ended = tokio::time::timeout(Duration::from_secs(2), big.read(&mut byte)).await.expect("refused at once");
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    // Smaller ones fill what room strangers have, and no more.
    let share = &core.room.strangers.bytes;
    core.room.strangers.bytes.forget_permits(share.available_permits() - (1 << 20));
    let before = core.room.members.bytes.available_permits();
    let places = core.room.places.available_permits();
    let attempts = (0..60).map(|n| half_of(2_000 + n, 400 << 10));
    let opened = futures_util::future::join_all(attempts).await;
    let held = opened.iter().filter(|o| o.is_ok()).count();
    assert!(held > 0 && held <= room::STRANGERS_MAX, "{held} strangers were let in");
    assert!(opened.iter().flat_map(|o| o.as_ref().err()).all(|why| why.contains("not known here")));
    assert!(share.available_permits() < 400 << 10, "two of them are being read");
    assert!(core.room.members.bytes.available_permits() + (1 << 20) > before, "members have their own");
    // The members go on meanwhile.
    for n in 0..10 {
        cluster.write(&format!("meanwhile{n}")).await;
    }
    victim.read_barrier(soon()).await.unwrap();
    // None of them stays: each message has a deadline.
    eventually("all strangers are gone", || core.room.places.available_permits() >= places).await;
    eventually("their room is free", || share.available_permits() == 1 << 20).await;
    assert_eq!((2_000..2_060).map(|id| core.guests.from(id)).sum::<usize>(), 0);
    drop(opened);
    cluster.stop().await;
}
