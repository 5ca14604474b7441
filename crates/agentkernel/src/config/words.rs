//! Names for sandboxes that nobody named.

use crate::{Name, SandboxId};

/// A name made of the id's first digits: an adjective and a noun. One of 4,096, so two ids may share it; whoever
/// meets `NameTaken` tries another id.
#[must_use]
pub fn generated_name(id: &SandboxId) -> Name {
    let digits = usize::from_str_radix(&id.as_str()[..3], 16).unwrap_or(0);
    let name = format!("{}-{}", ADJECTIVES[digits >> 6 & 63], NOUNS[digits & 63]);
    Name::try_from(name).expect("words are made of lower-case letters")
}

const ADJECTIVES: [&str; 64] = [
    "agile", "amber", "ample", "apt", "azure", "bold", "brave", "bright", "brisk", "calm", "candid", "civil", "clear",
    "clever", "cosy", "crisp", "daring", "deft", "eager", "early", "easy", "fair", "fast", "fine", "firm", "fleet",
    "fond", "frank", "fresh", "gentle", "glad", "golden", "grand", "hardy", "honest", "humble", "jolly", "keen",
    "kind", "lively", "loyal", "lucid", "merry", "mild", "modest", "neat", "noble", "patient", "polite", "prime",
    "proud", "quick", "quiet", "ready", "robust", "serene", "sharp", "silver", "smart", "steady", "sunny", "swift",
    "warm", "wise",
];

const NOUNS: [&str; 64] = [
    "acorn", "anchor", "anvil", "aspen", "badger", "beacon", "beech", "birch", "bison", "brook", "canyon", "cedar",
    "cliff", "cobalt", "comet", "condor", "coral", "crane", "delta", "dune", "eagle", "ember", "falcon", "fern",
    "finch", "fjord", "garnet", "glacier", "harbor", "hazel", "heron", "ibex", "island", "jasper", "kestrel", "lagoon",
    "lantern", "larch", "lynx", "maple", "marten", "meadow", "meteor", "onyx", "orchid", "osprey", "otter", "pebble",
    "pine", "planet", "plover", "quartz", "raven", "reef", "ridge", "robin", "sequoia", "sparrow", "summit", "thistle",
    "tundra", "valley", "willow", "wren",
];

#[cfg(test)]
#[path = "words_tests.rs"]
mod tests;
