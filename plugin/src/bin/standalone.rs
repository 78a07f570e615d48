//! The standalone program: the plugin with JACK, ALSA, CoreAudio or WASAPI in place of a host.

fn main() -> std::process::ExitCode {
    if nice_plug::nice_export_standalone::<barline::plugin::Barline>() {
        std::process::ExitCode::SUCCESS
    } else {
        std::process::ExitCode::FAILURE
    }
}
