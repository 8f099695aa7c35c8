//! Whether what was accepted still is what is wanted, right before it is carried out. Pure.
//!
//! Between the two others may have renamed volumes, made them anew, taken room or done what was asked for. What was
//! confirmed for one volume is done to no other, and nothing is done that was not asked for like this.

use crate::model::action::{Act, Action, Caller, StoreSize};
use crate::model::names::Name;
use crate::model::refusal::{Code, Refusal};
use crate::model::relief::EXPIRES_TAG;
use crate::model::step::{Step, Task};

use super::group::suffix_of;
use super::{Site, Subject, judge};

/// What is to be done by now of what was accepted as this task.
///
/// # Errors
/// When it is not to be done any more.
pub fn judge_again(
    site: &Site<'_>,
    caller: &Caller,
    act: &Act,
    accepted: &Task,
) -> Result<Task, Refusal> {
    let mut now = judge(site, caller, &fixed(act, accepted))?;
    is_of_the_same(accepted, &now)?;
    if now.plan.needs_confirmation && !accepted.plan.needs_confirmation {
        let loses = now.plan.loses.join("; ");
        let detail = format!(
            "{}: by now this cannot be undone ({loses}) and wants to be confirmed; ask for it again",
            accepted.name
        );
        return Err(Refusal::new(Code::ConfirmationRequired, detail));
    }
    match (&accepted.step, &mut now.step) {
        // Its names, tags and sizes are on record.
        (Step::Create(_), _) => {
            fits(site, accepted)?;
            Ok(accepted.clone())
        }
        (Step::Merge { origin: then }, Step::Merge { origin }) if then != origin => Err(another(
            accepted,
            "its origin is another volume by now; look again",
        )),
        // The time that it has counts from when it was accepted.
        (Step::Tag { add: promised, .. }, Step::Tag { add, .. }) => {
            let expiry = promised.iter().find(|tag| tag.starts_with(EXPIRES_TAG));
            let later = add.iter_mut().find(|tag| tag.starts_with(EXPIRES_TAG));
            if let (Some(expiry), Some(later)) = (expiry, later) {
                later.clone_from(expiry);
            }
            Ok(now)
        }
        _ => Ok(now),
    }
}

/// As it was decided: a name that was made up stays, and so does a size.
fn fixed(act: &Act, accepted: &Task) -> Act {
    let mut act = act.clone();
    let (Action::Create(create), Step::Create(new)) = (&mut act.action, &accepted.step) else {
        return act;
    };
    if accepted.with.is_empty() {
        create.name = Some(new.name.clone());
        // Another rate by now makes no other size of what was promised.
        if let Some(store) = new.store {
            create.size = Some(StoreSize::Bytes(store.0));
        }
    } else {
        // Of several, it is what follows each origin's name.
        let suffix = suffix_of(&accepted.name.lv, &new.name);
        create.name = suffix.and_then(|suffix| Name::parse(suffix).ok());
    }
    act
}

fn is_of_the_same(accepted: &Task, now: &Task) -> Result<(), Refusal> {
    let mut by_now = now.members();
    for then in accepted.members() {
        let found = by_now.next().map(|member| (&member.id, &member.name));
        if found != Some((&then.id, &then.name)) {
            let why = format!("{} is another volume by now; look again", then.name);
            return Err(another(accepted, &why));
        }
    }
    Ok(())
}

/// The stores that were promised, whose sizes a later judgement may see otherwise.
fn fits(site: &Site<'_>, accepted: &Task) -> Result<(), Refusal> {
    let Some(volume) = site.volume(&accepted.id.lv) else {
        return Err(another(accepted, "it is gone"));
    };
    let subject = Subject {
        site,
        volume,
        group: site.group(volume)?,
        together: 1,
    };
    subject.has_room(accepted.stores())
}

fn another(accepted: &Task, why: &str) -> Refusal {
    Refusal::new(
        Code::PreconditionFailed,
        format!("{}: {why}", accepted.name),
    )
}
