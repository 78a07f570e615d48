//! Keeps the plugin's library in memory once a host has loaded it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Rust's standard library sets a thread-local key with a destructor on every host thread that comes by. A host that unloads
    // the library before that thread ends would jump into nothing when it does (seen in host tests on Linux). With `nodelete`
    // the last `dlclose` leaves the library where it is. macOS does so by itself; Windows has its own mechanism for threads.
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| ["linux", "freebsd", "netbsd", "openbsd"].contains(&os.as_str())) {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
