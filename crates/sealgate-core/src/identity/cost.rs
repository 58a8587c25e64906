//! Estimate of the size of a compiled expression, made before any of it is expanded: a few bytes of
//! text can stand for megabytes (`(\pL{30}){20}`), and the time of compilation grows with the size.
//!
//! The estimate is in bytes of the automaton that matches forwards, which in practice is a third of
//! what the `regex` crate keeps. Classes are weighed by their kind and not looked up, since
//! expanding and folding a class of Unicode characters is the slow part of a short expression.

use regex_syntax::ast::{
    Ast, ClassBracketed, ClassSet, ClassSetItem, Flag, Flags, FlagsItemKind, GroupKind, Literal,
    RepetitionKind, RepetitionRange,
};

/// The fixed part of every expression.
const EXPRESSION: u64 = 1024;
/// An assertion, an empty part, a group, a branch, a repetition.
const STATE: u64 = 64;
/// One byte of a literal.
const LITERAL_BYTE: u64 = 32;
/// One character of a class.
const MEMBER: u64 = 128;
/// A range of characters of different lengths.
const RANGE: u64 = 320;
/// A category or script: the largest have several hundred ranges.
const PROPERTY: u64 = 16 * 1024;
/// The number of characters whose case is folded in the time in which one byte is compiled.
const FOLDED_PER_BYTE: u64 = 2;

/// The treatment of letter case in an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Kept,
    /// A part of the expression ignores case; every part is weighed as if it did.
    Ignored,
}

/// Returns the estimated size of the compiled expression, in bytes. The depth of `ast` is bounded
/// by its parser.
pub(super) fn of(ast: &Ast) -> u64 {
    let case = if ignores_case(ast) { Case::Ignored } else { Case::Kept };
    EXPRESSION.saturating_add(size(ast, case))
}

fn size(ast: &Ast, case: Case) -> u64 {
    match ast {
        Ast::Empty(_) | Ast::Flags(_) | Ast::Assertion(_) => STATE,
        Ast::Literal(literal) => literal_size(literal, case),
        Ast::Dot(_) => RANGE,
        Ast::ClassUnicode(_) | Ast::ClassPerl(_) => PROPERTY,
        Ast::ClassBracketed(class) => class_size(class, case),
        Ast::Repetition(repetition) => {
            let one = size(&repetition.ast, case).saturating_add(STATE);
            one.saturating_mul(copies(&repetition.op.kind))
        }
        Ast::Group(group) => size(&group.ast, case).saturating_add(STATE),
        Ast::Alternation(branches) => {
            sum(branches.asts.iter().map(|ast| size(ast, case).saturating_add(STATE)))
        }
        Ast::Concat(parts) => sum(parts.asts.iter().map(|ast| size(ast, case))),
    }
}

fn literal_size(literal: &Literal, case: Case) -> u64 {
    let cases = if case == Case::Ignored { 2 } else { 1 };
    LITERAL_BYTE * cases * literal.c.len_utf8() as u64
}

/// A negated class contains characters of every length.
fn class_size(class: &ClassBracketed, case: Case) -> u64 {
    let own = if class.negated { RANGE } else { STATE };
    own.saturating_add(set_size(&class.kind, case))
}

fn set_size(set: &ClassSet, case: Case) -> u64 {
    match set {
        ClassSet::Item(item) => item_size(item, case),
        ClassSet::BinaryOp(both) => {
            set_size(&both.lhs, case).saturating_add(set_size(&both.rhs, case))
        }
    }
}

fn item_size(item: &ClassSetItem, case: Case) -> u64 {
    match item {
        ClassSetItem::Empty(_) => STATE,
        ClassSetItem::Literal(_) => MEMBER,
        ClassSetItem::Range(range) => {
            let characters = u64::from(u32::from(range.end.c).abs_diff(u32::from(range.start.c)));
            let folded = if case == Case::Ignored { characters / FOLDED_PER_BYTE } else { 0 };
            folded + if range.end.c.is_ascii() { MEMBER } else { RANGE }
        }
        ClassSetItem::Ascii(_) => 2 * RANGE,
        ClassSetItem::Unicode(_) | ClassSetItem::Perl(_) => PROPERTY,
        ClassSetItem::Bracketed(class) => class_size(class, case),
        ClassSetItem::Union(all) => sum(all.items.iter().map(|item| item_size(item, case))),
    }
}

/// The number of times that a repeated part is compiled; at least once, since it is parsed.
fn copies(kind: &RepetitionKind) -> u64 {
    let copies = match kind {
        RepetitionKind::ZeroOrOne | RepetitionKind::ZeroOrMore | RepetitionKind::OneOrMore => 1,
        RepetitionKind::Range(RepetitionRange::Exactly(count)) => *count,
        RepetitionKind::Range(RepetitionRange::AtLeast(least)) => least.saturating_add(1),
        RepetitionKind::Range(RepetitionRange::Bounded(_, most)) => *most,
    };
    u64::from(copies.max(1))
}

/// Returns whether a flag `i` stands anywhere in the expression.
fn ignores_case(ast: &Ast) -> bool {
    let set = |flags: &Flags| {
        flags.items.iter().any(|item| item.kind == FlagsItemKind::Flag(Flag::CaseInsensitive))
    };
    match ast {
        Ast::Flags(flags) => set(&flags.flags),
        Ast::Repetition(repetition) => ignores_case(&repetition.ast),
        Ast::Group(group) => {
            matches!(&group.kind, GroupKind::NonCapturing(flags) if set(flags))
                || ignores_case(&group.ast)
        }
        Ast::Alternation(branches) => branches.asts.iter().any(ignores_case),
        Ast::Concat(parts) => parts.asts.iter().any(ignores_case),
        _ => false,
    }
}

fn sum(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.fold(0, u64::saturating_add)
}
