pub(super) async fn run(_: &super::args::Global, _: super::args::RushArgs) -> Result<(), super::exit::Failure> {
    Ok(())
}
