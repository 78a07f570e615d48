//! Build, bundle and check tasks: `cargo xtask <task>`.
fn main() -> nice_plug_xtask::Result<()> {
    nice_plug_xtask::main()
}
