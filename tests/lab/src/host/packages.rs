//! Debian packages the lab and the build of cowherd need; installs those that
//! are missing, and says so.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::tool;

const NEEDED: &[&str] = &[
    // The guest's machine and the tools that make its initramfs.
    "qemu-system-x86",
    "busybox-static",
    "cpio",
    "kmod",
    "xz-utils",
    "zstd",
    // What runs in the guest, from the shared root.
    "lvm2",
    "dmeventd",
    "thin-provisioning-tools",
    "e2fsprogs",
    "xfsprogs",
    "iproute2",
    "procps",
    "strace",
    "prometheus",
    "openssl",
    // A database that is held still; these have no service that the host would start.
    "mariadb-server-core",
    "mariadb-client-core",
    // Who watches a guest from the host; promtool and amtool check the alerts.
    "prometheus-alertmanager",
    "curl",
    // What building cowherd needs.
    "libdevmapper-dev",
    "libclang-dev",
    "pkg-config",
];

/// Does nothing and asks nobody when all are there.
pub fn install_missing() -> Result<()> {
    ensure!(
        cfg!(target_arch = "x86_64"),
        "the lab's guest is x86_64 and shares this machine's programs: it needs an x86_64 machine"
    );
    let missing = missing()?;
    if missing.is_empty() {
        return Ok(());
    }
    println!("lab: missing packages: {}", missing.join(" "));
    apt_get(&["update"])?;
    let mut install = vec!["install", "--yes", "--no-install-recommends"];
    install.extend(missing);
    apt_get(&install)
}

fn missing() -> Result<Vec<&'static str>> {
    let mut query = tool::command("dpkg-query");
    query.args(["--show", "--showformat=${Package} ${db:Status-Status}\n"]);
    query.args(NEEDED);
    // It exits 1 when a package is unknown, and still lists the others.
    let output = query
        .output()
        .context("asking dpkg-query: the lab needs Debian or Ubuntu")?;
    let listed = String::from_utf8_lossy(&output.stdout);
    Ok(not_installed(NEEDED, &listed))
}

fn not_installed<'a>(needed: &[&'a str], listed: &str) -> Vec<&'a str> {
    let installed = |name: &str| listed.lines().any(|l| l == format!("{name} installed"));
    needed.iter().copied().filter(|n| !installed(n)).collect()
}

fn apt_get(words: &[&str]) -> Result<()> {
    let mut command = as_root("apt-get")?;
    command.args(words).env("DEBIAN_FRONTEND", "noninteractive");
    println!("lab: running {}", tool::told(&command));
    tool::run(&mut command)
}

fn as_root(program: &str) -> Result<Command> {
    let uid = tool::output(tool::command("id").arg("-u"))?;
    if uid.trim() == "0" {
        return Ok(tool::command(program));
    }
    let mut command = tool::command("sudo");
    // sudo may have to ask for a password.
    command.stdin(std::process::Stdio::inherit()).arg(program);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removed_and_unknown_packages_are_missing() {
        let listed = "lvm2 installed\nkmod config-files\n";
        assert_eq!(
            not_installed(&["lvm2", "kmod", "cpio"], listed),
            ["kmod", "cpio"]
        );
    }
}
