//! The tests.

use super::harness::{Case, Needs};
use super::world::World;
use rbuild_builder::sandbox::Outcome;

/// All of them.
pub(crate) const ALL: &[Case] = &[("exit_codes_are_exact", Needs::Any, exit_codes_are_exact)];

fn exit_codes_are_exact(world: &World) {
    for (script, want) in [
        ("true", Outcome::Exited(0)),
        ("exit 1", Outcome::Exited(1)),
        ("exit 255", Outcome::Exited(255)),
        ("kill -9 $$", Outcome::Signaled(9)),
        ("kill -TERM $$", Outcome::Signaled(15)),
    ] {
        let ran = world.run(&world.script(script));
        assert_eq!(ran.outcome, want, "{script}: {ran:#?}");
    }
}
