//! `verify` against real cosign: one image in both formats, and a hundred.

use std::path::{Path, PathBuf};

use sealgate_tests::image::Image;
use sealgate_tests::programs::{Sandbox, built, sealgate};
use sealgate_tests::proxy::CountingProxy;
use sealgate_tests::registries;

use crate::images::{copied, several, signed, with_signatures};
use crate::measure::{copies, paired};
use crate::startup;
use crate::table::{Better, Row};

const RUNS: usize = 21;
const MANY: usize = 100;
/// The formats of a signature, in words and as the value of `--format`.
const FORMATS: [(&str, &str); 2] = [("bundle", "bundle"), ("legacy signature", "legacy")];
/// Signatures of one image.
const SIGNATURES: usize = 200;
const FEW_RUNS: usize = 5;

/// All rows about verifying.
pub(crate) fn run() -> anyhow::Result<Vec<Row>> {
    let sandbox = Sandbox::new();
    sandbox.sealgate(&["generate-key-pair"]).ok();
    let mut rows = Vec::new();
    for (name, format) in FORMATS {
        let image = signed(&sandbox, format, &format!("bench-{format}"));
        if format == "bundle" {
            let (ours, peers) =
                (arguments(&sandbox, &[&image]), cosign_arguments(&sandbox, &image));
            rows.extend(startup::rows(&sandbox, &ours, &peers)?);
        }
        rows.extend(one(&sandbox, name, &image)?);
        rows.push(requests(&sandbox, name, &image)?);
    }
    rows.extend(many(&sandbox)?);
    rows.extend(signatures(&sandbox)?);
    Ok(rows)
}

/// This program and an old one in turns, on the same images.
pub(crate) fn against(old: &Path) -> anyhow::Result<Vec<Row>> {
    let sandbox = Sandbox::new();
    sandbox.sealgate(&["generate-key-pair"]).ok();
    let mut commands = vec![("version".to_owned(), vec!["version".to_owned()])];
    for (name, format) in FORMATS {
        let image = signed(&sandbox, format, &format!("against-{format}"));
        commands.push((format!("verify one {name}"), arguments(&sandbox, &[&image])));
    }
    let images = several(&sandbox, "against", MANY);
    let images: Vec<&Image> = images.iter().collect();
    commands.push((format!("verify {MANY} images, one call"), arguments(&sandbox, &images)));
    let image = with_signatures(&sandbox, "against-signatures", SIGNATURES);
    let name = format!("verify {SIGNATURES} bundles, one ours");
    commands.push((name, arguments(&sandbox, &[&image])));
    let [new, old] = copies(&sandbox, old)?;
    let mut rows = Vec::new();
    for (name, words) in &commands {
        let (a, b) = paired(&sandbox, RUNS, (&new, words), (&old, words))?;
        let row = |figure: &str, unit, figures| {
            Row::compared(&format!("{name}: {figure}"), unit, Better::Less, figures)
        };
        rows.push(row("wall", "ms", [a.wall, b.wall]));
        rows.push(row("processor", "ms", [a.cpu, b.cpu]));
        rows.push(row("peak memory", "MiB", [a.memory, b.memory]));
    }
    Ok(rows)
}

/// One image with many signatures, of which one is ours, beside one with ours alone: how the time
/// grows with signatures of others.
fn signatures(sandbox: &Sandbox) -> anyhow::Result<Vec<Row>> {
    let alone = signed(sandbox, "bundle", "bench-alone");
    let many = with_signatures(sandbox, "bench-signatures", SIGNATURES);
    let on_docker = |image: &Image| copied(sandbox, image, image.at(&registries::docker().host));
    let docker = (on_docker(&many), on_docker(&alone));
    let mut rows = Vec::new();
    for (name, (many, alone)) in [("", (many, alone)), (" on docker-registry", docker)] {
        let (many, one) = (arguments(sandbox, &[&many]), arguments(sandbox, &[&alone]));
        let (many, one) = paired(sandbox, FEW_RUNS, (&sealgate(), &many), (&sealgate(), &one))?;
        let what = |figure: &str| format!("verify {SIGNATURES} bundles, one ours{name}: {figure}");
        rows.push(Row::grown(&what("wall"), "ms", many.wall, ("one", one.wall)));
        rows.push(Row::grown(&what("processor"), "ms", many.cpu, ("one", one.cpu)));
        rows.push(Row::grown(&what("peak memory"), "MiB", many.memory, ("one", one.memory)));
    }
    Ok(rows)
}

fn one(sandbox: &Sandbox, name: &str, image: &Image) -> anyhow::Result<Vec<Row>> {
    let ours = arguments(sandbox, &[image]);
    let peer = cosign_arguments(sandbox, image);
    let (a, b) = paired(sandbox, RUNS, (&sealgate(), &ours), (&built("cosign"), &peer))?;
    Ok(vec![
        Row::against(&format!("verify one {name}: wall"), "ms", a.wall, b.wall),
        Row::against(&format!("verify one {name}: processor"), "ms", a.cpu, b.cpu),
        Row::against(&format!("verify one {name}: peak memory"), "MiB", a.memory, b.memory),
    ])
}

fn requests(sandbox: &Sandbox, name: &str, image: &Image) -> anyhow::Result<Row> {
    let proxy = CountingProxy::start(&registries::referrers().host)?;
    let seen = image.at(&proxy.host);
    sandbox.sealgate(&arguments(sandbox, &[&seen])).ok();
    let ours = proxy.take().len();
    sandbox.cosign(&cosign_arguments(sandbox, &seen)).ok();
    let peer = proxy.take().len();
    Ok(Row::against(&format!("verify one {name}: registry requests"), "", ours as f64, peer as f64))
}

/// A hundred images: ours in one call, the peer's in a hundred, and ours in a hundred as well.
fn many(sandbox: &Sandbox) -> anyhow::Result<Vec<Row>> {
    let images: Vec<Image> =
        (0..MANY).map(|i| signed(sandbox, "bundle", &format!("bench-many-{i}"))).collect();
    let all: Vec<&Image> = images.iter().collect();
    let call = arguments(sandbox, &all);
    let ours = script(sandbox, "ours.sh", &[(&sealgate(), call)]);
    let each =
        |program: &Path, of: &dyn Fn(&Image) -> Vec<String>| -> Vec<(PathBuf, Vec<String>)> {
            images.iter().map(|image| (program.to_path_buf(), of(image))).collect()
        };
    let peer_calls = each(&built("cosign"), &|image| cosign_arguments(sandbox, image));
    let our_calls = each(&sealgate(), &|image| arguments(sandbox, &[image]));
    let peer = script(sandbox, "peer.sh", &borrowed(&peer_calls));
    let ours_each = script(sandbox, "ours-each.sh", &borrowed(&our_calls));
    let shell = Path::new("/bin/sh");
    let (one_call, cosign) =
        paired(sandbox, 1, (shell, &[ours]), (shell, std::slice::from_ref(&peer)))?;
    let (hundred_calls, _) = paired(sandbox, 1, (shell, &[ours_each]), (shell, &[peer]))?;
    Ok(vec![
        Row::against(
            "100 images, one call against 100 calls: wall",
            "ms",
            one_call.wall,
            cosign.wall,
        ),
        Row::against("100 images, 100 calls each: wall", "ms", hundred_calls.wall, cosign.wall),
        Row::against("100 images, one call: peak memory", "MiB", one_call.memory, cosign.memory),
    ])
}

fn borrowed(calls: &[(PathBuf, Vec<String>)]) -> Vec<(&Path, Vec<String>)> {
    calls.iter().map(|(program, words)| (program.as_path(), words.clone())).collect()
}

/// A shell script of calls; gives its path.
fn script(sandbox: &Sandbox, name: &str, calls: &[(&Path, Vec<String>)]) -> String {
    let mut text = String::from("set -e\n");
    for (program, words) in calls {
        text.push_str(&format!("{} {}\n", program.display(), words.join(" ")));
    }
    sandbox.write(name, text).display().to_string()
}

fn arguments(sandbox: &Sandbox, images: &[&Image]) -> Vec<String> {
    let key = sandbox.path("cosign.pub").display().to_string();
    let mut words = vec!["verify".to_owned(), "--key".to_owned(), key];
    words.extend(images.iter().map(|image| image.by_tag()));
    words
}

/// Without a log there is nothing for cosign to look up, so both do the same work.
fn cosign_arguments(sandbox: &Sandbox, image: &Image) -> Vec<String> {
    let mut words = arguments(sandbox, &[image]);
    words.insert(1, "--insecure-ignore-tlog=true".to_owned());
    words
}
