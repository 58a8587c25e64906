//! The verbs of the command line, whose flags are built only when the verb is called: thirty verbs
//! have some five hundred flags, and building all of them would slow down every start.

use clap::{ArgMatches, Args, Command, Error, FromArgMatches, Id};

use super::normal;

/// The flags of a verb, adapted to Go's behaviour.
#[derive(Debug)]
pub(crate) struct Verb<T>(pub(crate) T);

impl<T: Args> Args for Verb<T> {
    fn group_id() -> Option<Id> {
        T::group_id()
    }

    fn augment_args(command: Command) -> Command {
        with_flags(command, T::augment_args)
    }

    fn augment_args_for_update(command: Command) -> Command {
        with_flags(command, T::augment_args_for_update)
    }
}

/// Adds the verb's own flags before those of every command, which help shows last.
fn with_flags(verb: Command, own: fn(Command) -> Command) -> Command {
    let everywhere: Vec<Id> = verb.get_arguments().map(|arg| arg.get_id().clone()).collect();
    let verb = normal::adapt(own(verb));
    // `mut_arg` moves an argument to the end of the list.
    everywhere.into_iter().fold(verb, |verb, id| verb.mut_arg(id, |arg| arg))
}

impl<T: FromArgMatches> FromArgMatches for Verb<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        T::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.0.update_from_arg_matches(matches)
    }
}
