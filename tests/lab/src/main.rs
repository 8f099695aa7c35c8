//! The command `cargo lab`: hands its arguments to the library and turns the
//! outcome into an exit code. Nothing else may live here.

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match lab::run(&words) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::from(1)
        }
    }
}
