pub(super) async fn run(_: super::args::DevArgs) -> Result<(), super::exit::Failure> {
    Ok(())
}
