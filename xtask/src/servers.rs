//! Programs that the end-to-end tests use, and their installation.
//!
//! Debian packages are installed only if their program is missing. Go programs are built once into
//! a cache directory (`$SEALGATE_TEST_CACHE`, or `~/.cache/sealgate-tests`); a stamp file next to
//! each holds the recipe it was built from, so that a changed recipe causes a rebuild.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::command;

/// Program from a Debian package.
struct Packaged {
    program: &'static str,
    package: &'static str,
}

/// Program built from source.
struct Built {
    program: &'static str,
    source: Source,
    linker_flags: &'static str,
    tags: &'static str,
}

enum Source {
    /// Published module, `path@version`.
    Published(&'static str),
    /// Local module under `tests/servers/`.
    Ours(&'static str),
    /// Program of a published module with the versions in a local `go.mod`: modules whose own
    /// `go.mod` has replacements cannot be built with `path@version`.
    Pinned {
        /// Directory under `tests/servers/`.
        folder: &'static str,
        /// Package of the program.
        package: &'static str,
    },
    /// Published crate, `name@version`.
    Crate(&'static str),
}

const PACKAGED: &[Packaged] = &[
    Packaged { program: "docker-registry", package: "docker-registry" },
    Packaged { program: "etcd", package: "etcd-server" },
    Packaged { program: "kubectl", package: "kubernetes-client" },
    Packaged { program: "openssl", package: "openssl" },
    Packaged { program: "wrk", package: "wrk" },
    Packaged { program: "time", package: "time" },
];

const BUILT: &[Built] = &[
    Built {
        program: "cosign",
        source: Source::Published("github.com/sigstore/cosign/v3/cmd/cosign@v3.1.3"),
        linker_flags: "",
        tags: "",
    },
    Built {
        program: "fulcio",
        source: Source::Published("github.com/sigstore/fulcio@v1.8.8"),
        linker_flags: "-s -w",
        tags: "",
    },
    Built {
        program: "rekor-server",
        source: Source::Published(
            "github.com/sigstore/rekor-tiles/v2/cmd/rekor-server/posix@v2.3.0",
        ),
        linker_flags: "-s -w",
        tags: "",
    },
    Built {
        program: "timestamps",
        source: Source::Ours("timestamps"),
        linker_flags: "-s -w",
        tags: "",
    },
    Built { program: "oracle", source: Source::Ours("oracle"), linker_flags: "-s -w", tags: "" },
    Built {
        program: "refregistry",
        source: Source::Ours("refregistry"),
        linker_flags: "",
        tags: "",
    },
    Built {
        program: "skopeo",
        source: Source::Ours("skopeo"),
        linker_flags: "",
        // No C libraries: neither gpgme nor those of the storage drivers.
        tags: "containers_image_openpgp,exclude_graphdriver_btrfs,\
               containers_image_docker_daemon_stub,containers_image_storage_stub",
    },
    Built {
        program: "kubernetes",
        source: Source::Ours("kubernetes"),
        // Clients check the version, and refuse a server without one.
        linker_flags: "-s -w -X k8s.io/component-base/version.gitVersion=v1.35.4 \
                       -X k8s.io/component-base/version.gitMajor=1 \
                       -X k8s.io/component-base/version.gitMinor=35",
        tags: "",
    },
];

/// policy-controller for the migration test, which also uses its manifests: see
/// [`POLICY_CONTROLLER_CONFIG`].
const POLICY_CONTROLLER: Built = Built {
    program: "policy-controller",
    source: Source::Pinned {
        folder: "policy-controller",
        package: "github.com/sigstore/policy-controller/cmd/webhook",
    },
    linker_flags: "-s -w",
    tags: "",
};
/// Directory of its manifests and examples, next to the directory of the programs.
const POLICY_CONTROLLER_CONFIG: &str = "policy-controller";

/// Checks licences and sources of dependencies.
const CARGO_DENY: Built = Built {
    program: "cargo-deny",
    source: Source::Crate("cargo-deny@0.20.2"),
    linker_flags: "",
    tags: "",
};

/// Runs the targets in `fuzz/`.
const CARGO_FUZZ: Built = Built {
    program: "cargo-fuzz",
    source: Source::Crate("cargo-fuzz@0.13.2"),
    linker_flags: "",
    tags: "",
};

/// Minimum Go version that builds all of the above.
const GO: (u32, u32) = (1, 26);

/// `cargo xtask install`.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    if let Some(first) = arguments.first() {
        bail!("install takes no arguments, got {first}");
    }
    install()?;
    println!("servers and clients for the tests: PATH and {}", bin()?.display());
    Ok(())
}

/// Installs everything that is missing.
pub(crate) fn install() -> anyhow::Result<()> {
    install_packages()?;
    for built in BUILT {
        build(built).with_context(|| format!("building {}", built.program))?;
    }
    build(&POLICY_CONTROLLER).context("building policy-controller")?;
    copy_manifests().context("policy-controller's manifests")
}

/// Copies `config/` and the examples out of policy-controller's module.
fn copy_manifests() -> anyhow::Result<()> {
    let bin = bin()?;
    let folder = bin.parent().context("the cache has a folder")?.join(POLICY_CONTROLLER_CONFIG);
    let stamp = folder.join("stamp");
    let recipe = recipe(&POLICY_CONTROLLER)?;
    if fs::read_to_string(&stamp).is_ok_and(|stamp| stamp == recipe) {
        return Ok(());
    }
    let module = "github.com/sigstore/policy-controller";
    let mut list = Command::new("go");
    list.args(["list", "-m", "-f", "{{.Dir}}", module]);
    let module = command::output(list.current_dir(module_folder("policy-controller")?))?;
    fs::create_dir_all(&folder)?;
    for (from, to) in [("config", "config"), ("test/testdata/trustroot/valid", "trustroots")] {
        copy_files(&Path::new(module.trim()).join(from), &folder.join(to))?;
    }
    fs::write(&stamp, recipe).with_context(|| format!("writing {}", stamp.display()))
}

fn copy_files(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            // Content only: files in the module cache are read-only.
            fs::write(to.join(entry.file_name()), fs::read(entry.path())?)?;
        }
    }
    Ok(())
}

/// `cargo-deny`, built on first use.
pub(crate) fn cargo_deny() -> anyhow::Result<PathBuf> {
    build(&CARGO_DENY).context("building cargo-deny")?;
    Ok(bin()?.join(CARGO_DENY.program))
}

/// `cargo-fuzz`, built on first use.
pub(crate) fn cargo_fuzz() -> anyhow::Result<PathBuf> {
    build(&CARGO_FUZZ).context("building cargo-fuzz")?;
    Ok(bin()?.join(CARGO_FUZZ.program))
}

/// Directory of the built programs.
pub(crate) fn bin() -> anyhow::Result<PathBuf> {
    if let Some(cache) = std::env::var_os("SEALGATE_TEST_CACHE") {
        return Ok(PathBuf::from(cache).join("bin"));
    }
    let home = std::env::var_os("HOME").context("neither SEALGATE_TEST_CACHE nor HOME is set")?;
    Ok(PathBuf::from(home).join(".cache/sealgate-tests/bin"))
}

fn install_packages() -> anyhow::Result<()> {
    let missing = PACKAGED.iter().filter(|p| !command::is_in_path(p.program));
    let packages: Vec<_> = missing.map(|p| p.package).collect();
    if packages.is_empty() {
        return Ok(());
    }
    if !command::is_in_path("apt-get") {
        bail!("not in PATH: {}; there is no apt-get, so install them yourself", packages.join(" "));
    }
    command::run(apt_get().args(["update", "-qq"]))?;
    command::run(apt_get().args(["install", "-qq", "--no-install-recommends"]).args(&packages))
}

fn apt_get() -> Command {
    let mut apt_get = if is_root() || !command::is_in_path("sudo") {
        Command::new("apt-get")
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(["--preserve-env=DEBIAN_FRONTEND,RUNLEVEL", "apt-get"]);
        sudo
    };
    // RUNLEVEL=1: services in the packages must not be started.
    apt_get.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1").arg("-y");
    apt_get
}

fn is_root() -> bool {
    command::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

fn build(built: &Built) -> anyhow::Result<()> {
    let bin = bin()?;
    let stamp = bin.join(format!("{}.stamp", built.program));
    let recipe = recipe(built)?;
    if bin.join(built.program).is_file() && fs::read_to_string(&stamp).is_ok_and(|s| s == recipe) {
        return Ok(());
    }
    fs::create_dir_all(&bin)?;
    command::run(&mut build_command(built, &bin)?)?;
    // Go names a program by its directory, which may not be descriptive.
    let named = bin.join(name_of(built));
    if named != bin.join(built.program) {
        fs::rename(&named, bin.join(built.program))
            .with_context(|| format!("renaming {}", named.display()))?;
    }
    fs::write(&stamp, recipe).with_context(|| format!("writing {}", stamp.display()))
}

fn build_command(built: &Built, bin: &Path) -> anyhow::Result<Command> {
    if let Source::Crate(name) = built.source {
        let mut cargo = command::cargo();
        cargo.args(["install", "--locked", "--force", name, "--root"]).args(bin.parent());
        return Ok(cargo);
    }
    check_go()?;
    let mut go = Command::new("go");
    go.env("GOBIN", bin).args(["install", "-ldflags", built.linker_flags, "-tags", built.tags]);
    match built.source {
        Source::Ours(folder) => go.current_dir(module_folder(folder)?).arg("."),
        Source::Pinned { folder, package } => go.current_dir(module_folder(folder)?).arg(package),
        Source::Published(name) | Source::Crate(name) => go.arg(name),
    };
    Ok(go)
}

/// File name of a build's result.
fn name_of(built: &Built) -> &'static str {
    match built.source {
        Source::Published(name) | Source::Pinned { package: name, .. } => {
            let folder = name.split('@').next().unwrap_or(name);
            folder.rsplit('/').next().unwrap_or(folder)
        }
        Source::Ours(_) | Source::Crate(_) => built.program,
    }
}

/// Recipe of a build as text: everything that determines its result.
fn recipe(built: &Built) -> anyhow::Result<String> {
    let source = match built.source {
        Source::Published(name) | Source::Crate(name) => name.to_owned(),
        Source::Ours(folder) => {
            let folder = module_folder(folder)?;
            let read = |name| read(&folder.join(name));
            [read("go.mod")?, read("go.sum")?, read("main.go")?].concat()
        }
        Source::Pinned { folder, package } => {
            let folder = module_folder(folder)?;
            let read = |name| read(&folder.join(name));
            [read("go.mod")?, read("go.sum")?, package.to_owned()].concat()
        }
    };
    Ok(format!("{}\n{}\n{source}\n", built.linker_flags, built.tags))
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

fn module_folder(name: &str) -> anyhow::Result<PathBuf> {
    Ok(crate::root()?.join("tests/servers").join(name))
}

fn check_go() -> anyhow::Result<()> {
    if !command::is_in_path("go") {
        bail!("Go {}.{} or newer builds the test servers, and there is no go in PATH", GO.0, GO.1);
    }
    let text = command::output(Command::new("go").args(["env", "GOVERSION"]))?;
    match version(text.trim()) {
        Some(found) if found >= GO => Ok(()),
        _ => bail!("the test servers need Go {}.{} or newer, this is {}", GO.0, GO.1, text.trim()),
    }
}

/// Major and minor of `go1.26.8`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.strip_prefix("go")?.split('.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?;
    let digits = minor.find(|c: char| !c.is_ascii_digit()).map_or(minor, |end| &minor[..end]);
    Some((major, digits.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_versions_are_read() {
        assert_eq!(version("go1.26.8"), Some((1, 26)));
        assert_eq!(version("go1.27rc1"), Some((1, 27)));
        assert_eq!(version("devel"), None);
        assert!(version("go1.9") < Some(GO));
    }

    #[test]
    fn what_go_leaves_is_named_by_the_folder() {
        let named = |program| BUILT.iter().find(|built| built.program == program).map(name_of);
        assert_eq!(named("rekor-server"), Some("posix"));
        assert_eq!(named("fulcio"), Some("fulcio"));
        assert_eq!(named("timestamps"), Some("timestamps"));
    }

    #[test]
    fn a_recipe_changes_with_its_source() {
        let of = |module| Built {
            program: "cosign",
            source: Source::Published(module),
            linker_flags: "",
            tags: "",
        };
        assert_ne!(recipe(&of("a@v1")).unwrap(), recipe(&of("a@v2")).unwrap());
        for built in BUILT {
            assert!(recipe(built).is_ok(), "{}", built.program);
        }
    }
}
