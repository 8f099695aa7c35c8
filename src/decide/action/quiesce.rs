//! Who may have which applications held still, and what it means for a snapshot whether they did. Pure.

use crate::model::action::{Action, Caller, Create};
use crate::model::names::Name;
use crate::model::quiesce::{Quiesce, QuiesceMode};
use crate::model::refusal::{Code, Refusal};

use super::Subject;

/// Nothing where nobody is to hold still.
pub(super) fn wanted(action: &Action) -> Option<Quiesce> {
    let Action::Create(wanted) = action else {
        return None;
    };
    let wanted = wanted.quiesce.clone()?;
    (wanted.mode != QuiesceMode::None).then_some(wanted)
}

impl Subject<'_> {
    /// Whether each hook is there, and this caller may name it. Who may not learns nothing of it.
    pub(super) fn may_have_held(&self, caller: &Caller, wanted: &Create) -> Result<(), Refusal> {
        let access = self.site.access;
        let named = wanted.quiesce.iter().flat_map(|quiesce| &quiesce.hooks);
        for hook in named {
            if !access.allows_hook(caller, hook) {
                let detail = format!(
                    "{caller} may not name the hook {hook}: `hooks` of no [[api.caller]] of the configuration lets it"
                );
                return Err(Refusal::new(Code::Forbidden, detail));
            }
            if access.hook(hook).is_none() {
                let all: Vec<&str> = access.hooks.iter().map(|hook| hook.name.as_str()).collect();
                let known = if all.is_empty() {
                    "none".to_owned()
                } else {
                    all.join(", ")
                };
                let detail = format!(
                    "there is no hook {hook}: [[api.hook]] of the configuration names {known}"
                );
                return Err(Refusal::new(Code::UnknownHook, detail));
            }
        }
        Ok(())
    }
}

/// How the sentence goes on that tells what a request would do.
pub(super) fn told(wanted: Option<&Quiesce>) -> String {
    let Some(wanted) = wanted.filter(|wanted| wanted.mode != QuiesceMode::None) else {
        return String::new();
    };
    let hooks: Vec<&str> = wanted.hooks.iter().map(Name::as_str).collect();
    let hooks = hooks.join(", ");
    match wanted.mode {
        QuiesceMode::Required => format!(" while {hooks} holds"),
        QuiesceMode::BestEffort => format!(" while {hooks} holds if it can"),
        QuiesceMode::None => String::new(),
    }
}
