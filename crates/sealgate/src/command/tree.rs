//! `tree`: prints the attachments of an image.

use std::fmt::Write as _;

use clap::Args;
use sealgate_core::reference::Reference;
use sealgate_core::reject::Foreign;
use sealgate_engine::attached::Kind;
use sealgate_engine::tree::{Branch, Tree, tree};
use serde_json::{Value, json};

use crate::cli::registry::{self, RegistryFlags};
use crate::cli::values::{BOOL, go_bool};
use crate::failure::Outcome;
use crate::output::{self, Format};
use crate::session::Session;
use crate::terminal;

/// Show the signatures, attestations and SBOMs of an image
#[derive(Args, Debug)]
pub(crate) struct TreeArgs {
    /// Output format
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "text")]
    output: Format,

    /// No effect: legacy tags and referrers are both shown
    #[arg(long, value_name = "legacy|oci-1-1", hide = true)]
    registry_referrers_mode: Option<String>,

    #[arg(long, value_name = BOOL, value_parser = go_bool, hide = true)]
    experimental_oci11: Option<bool>,

    #[command(flatten)]
    registry: RegistryFlags,

    /// The image
    #[arg(value_name = "IMAGE")]
    image: Reference,
}

pub(crate) async fn run(args: TreeArgs, session: &mut Session) -> Outcome {
    session.errors = args.output.errors();
    let registry = args.registry.client()?;
    let limits = super::limits()?;
    let (place, prefix) = (registry::signature_repository()?, args.registry.tag_prefix());
    let found = tree(&registry, &args.image, place.as_ref(), &prefix, &limits).await?;
    match args.output {
        Format::Json => output::document(session, "tree", json!({ "image": image(&found) })),
        Format::Text => {
            session.print(terminal::clean(&text(&args.image, &found, session.program)).as_bytes())
        }
    }
}

fn text(asked: &Reference, tree: &Tree, program: &str) -> String {
    let mut text = format!("📦 Supply Chain Security Related artifacts for an image: {asked}\n");
    let nothing = tree.branches.is_empty() && tree.children.iter().all(|c| c.branches.is_empty());
    if nothing {
        let _ = writeln!(
            text,
            "No Supply Chain Security Related Artifacts found for image {asked},\n start creating \
             one with simply running $ {program} sign <img>"
        );
        return text;
    }
    tree.branches.iter().for_each(|branch| write_branch(&mut text, branch, 0));
    for child in tree.children.iter().filter(|child| !child.branches.is_empty()) {
        let platform = child.platform.as_deref().unwrap_or("unknown platform");
        let _ = writeln!(text, "🖥  {platform}: {}", child.image);
        child.branches.iter().for_each(|branch| write_branch(&mut text, branch, 0));
    }
    text
}

/// Writes an attachment and its own attachments. `depth` is zero for an attachment of an image, one
/// for an attachment of that, and so on.
fn write_branch(text: &mut String, branch: &Branch, depth: usize) {
    let place = &branch.location;
    let margin = "   ".repeat(depth);
    text.push_str(&margin);
    let kind = Foreign::new(branch.predicate_type.as_deref().unwrap_or(&branch.artifact_type));
    let _ = match (branch.kind, place.tag()) {
        (Kind::Signature, Some(_)) => writeln!(text, "└── 🔐 Signatures for an image tag: {place}"),
        (Kind::Attestation, Some(_)) => {
            writeln!(text, "└── 💾 Attestations for an image tag: {place}")
        }
        (Kind::Sbom, Some(_)) => writeln!(text, "└── 📦 SBOMs for an image tag: {place}"),
        _ => writeln!(text, "└── 🔗 {kind} artifacts via OCI referrer: {place}"),
    };
    for (position, layer) in branch.layers.iter().enumerate() {
        let last = position + 1 == branch.layers.len();
        let arm = if last { "└──" } else { "├──" };
        let _ = writeln!(text, "{margin}   {arm} 🍒 {}", layer.digest);
    }
    branch.branches.iter().for_each(|branch| write_branch(text, branch, depth + 1));
}

fn image(tree: &Tree) -> Value {
    json!({
        "reference": tree.image.to_string(),
        "descriptor": tree.descriptor,
        "platform": tree.platform,
        "attached": tree.branches.iter().map(attached).collect::<Vec<_>>(),
        "children": tree.children.iter().map(image).collect::<Vec<_>>(),
    })
}

fn attached(branch: &Branch) -> Value {
    json!({
        "kind": match branch.kind {
            Kind::Signature => "signature",
            Kind::Attestation => "attestation",
            Kind::Sbom => "sbom",
            Kind::Other => "other",
        },
        "location": branch.location.to_string(),
        "artifactType": branch.artifact_type,
        "predicateType": branch.predicate_type,
        "manifest": branch.manifest,
        "layers": branch.layers,
        "attached": branch.branches.iter().map(attached).collect::<Vec<_>>(),
    })
}
