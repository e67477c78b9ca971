//! Landlock: a second fence over files, signals and abstract sockets, and the only one where there are no namespaces.
//! An older kernel knows less of it; what it knows is in force.

use ::landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, NetPort, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, RulesetStatus, Scope, path_beneath_rules,
};

use super::plan::Fence;

/// The newest rules that this file was written for.
const RULES: ABI = ABI::V6;

/// Fences this thread in, with all that it will start. `port` is the only TCP port that may be connected to, if
/// `fence.tcp`. Says whether anything is in force.
pub fn apply(fence: &Fence, port: Option<u16>) -> Result<bool, RulesetError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(RULES))?
        .scope(Scope::from_all(RULES))?;
    if fence.tcp {
        ruleset = ruleset.handle_access(AccessNet::ConnectTcp)?;
    }
    let mut ruleset = ruleset
        .create()?
        .add_rules(path_beneath_rules(&fence.read, AccessFs::from_read(RULES)))?
        .add_rules(path_beneath_rules(&fence.write, AccessFs::from_all(RULES)))?;
    if let Some(port) = port.filter(|_| fence.tcp) {
        ruleset = ruleset.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
    }
    Ok(ruleset.restrict_self()?.ruleset != RulesetStatus::NotEnforced)
}

/// The version of landlock that this kernel has, as far as this file makes use of it; 0 for none.
pub fn version() -> u8 {
    let known = [(6, ABI::V6), (5, ABI::V5), (4, ABI::V4), (3, ABI::V3), (2, ABI::V2), (1, ABI::V1)];
    known.into_iter().find(|(_, abi)| knows(*abi)).map_or(0, |(number, _)| number)
}

/// Whether the kernel takes the rules of a version. Nothing is put in force.
fn knows(abi: ABI) -> bool {
    let mut ruleset =
        Ruleset::default().set_compatibility(CompatLevel::HardRequirement).handle_access(AccessFs::from_all(abi));
    if !AccessNet::from_all(abi).is_empty() {
        ruleset = ruleset.and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(abi)));
    }
    if !Scope::from_all(abi).is_empty() {
        ruleset = ruleset.and_then(|ruleset| ruleset.scope(Scope::from_all(abi)));
    }
    ruleset.and_then(Ruleset::create).is_ok()
}
