use super::*;
use std::collections::HashSet;

#[test]
fn every_id_has_a_name_and_every_name_is_its_own() {
    let names: HashSet<Name> = (0..4096)
        .map(|digits| generated_name(&SandboxId::try_from(format!("{digits:03x}000000000")).unwrap()))
        .collect();
    assert_eq!(names.len(), 4096);
}
