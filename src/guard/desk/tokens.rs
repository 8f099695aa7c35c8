//! Confirmations: the right to do one thing to one volume once, soon.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};

use crate::model::action::Caller;
use crate::model::names::VolumeId;
use crate::model::refusal::{Code, Refusal};
use crate::model::step::{Step, Task};
use crate::model::time::Moment;

/// How long a confirmation is good for.
pub(super) const LIFE: Duration = Duration::from_secs(120);
/// Nobody needs more at once.
const MAX: usize = 1000;
const MAX_OF_ONE: usize = 50;

/// What was issued and not yet used.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    issued: BTreeMap<String, Issued>,
}

#[derive(Debug)]
struct Issued {
    caller: Caller,
    volume: VolumeId,
    step: Step,
    until: Moment,
}

impl Tokens {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn issue(
        &mut self,
        caller: &Caller,
        task: &Task,
        now: Moment,
    ) -> Result<String, Refusal> {
        self.issued.retain(|_, issued| issued.until > now);
        let own = || {
            self.issued
                .iter()
                .filter(|(_, issued)| issued.caller.who() == caller.who())
        };
        if own().count() >= MAX_OF_ONE {
            // Whoever asks for so many has no use for the oldest, and takes nobody else's.
            let oldest = own().min_by_key(|(_, issued)| issued.until);
            let oldest = oldest.map(|(token, _)| token.clone());
            oldest.map(|token| self.issued.remove(&token));
        }
        if self.issued.len() >= MAX {
            let detail = format!("{MAX} confirmations wait to be used; try again in two minutes");
            return Err(Refusal::new(Code::RateLimited, detail));
        }
        let token = URL_SAFE_NO_PAD.encode(random()?.to_be_bytes());
        let issued = Issued {
            caller: caller.clone(),
            volume: task.id.clone(),
            step: task.step.clone(),
            until: now.after(LIFE),
        };
        self.issued.insert(token.clone(), issued);
        Ok(token)
    }

    /// Uses a token up, whether it fits or not.
    pub(super) fn redeem(
        &mut self,
        token: Option<&str>,
        caller: &Caller,
        task: &Task,
        now: Moment,
    ) -> Result<(), Refusal> {
        let Some(token) = token else {
            let detail = format!(
                "{}: this cannot be undone ({}); ask for a token with POST /api/v1/confirmations and send it as `Confirm`",
                task.name,
                task.plan.loses.join("; ")
            );
            return Err(Refusal::new(Code::ConfirmationRequired, detail));
        };
        let issued = self.issued.remove(token);
        let fits = issued.is_some_and(|issued| {
            issued.until > now
                && issued.caller.who() == caller.who()
                && issued.volume == task.id
                && issued.step == task.step
        });
        if fits {
            return Ok(());
        }
        let detail = format!(
            "{}: the confirmation is unknown, used, too old or for something else; ask for another one",
            task.name
        );
        Err(Refusal::new(Code::ConfirmationInvalid, detail))
    }
}

/// Nobody can guess it.
pub(super) fn random() -> Result<u128, Refusal> {
    let mut bytes = [0; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Refusal::new(Code::Internal, "the kernel gives no random numbers"))?;
    Ok(u128::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::super::jobs::tests::task;
    use super::*;

    const fn user(uid: u32, gid: u32) -> Caller {
        Caller::Peer { uid, gid }
    }

    #[test]
    fn who_asks_for_too_many_loses_its_own() {
        let (mut tokens, task) = (Tokens::new(), task());
        let at = |secs| Moment::default().after(Duration::from_secs(secs));
        let mut issue = |caller, secs| tokens.issue(&caller, &task, at(secs)).expect("a token");
        let others = issue(user(1, 1), 0);
        let first = issue(user(2, 2), 1);
        let second = issue(user(2, 2), 2);
        for _ in 2..=MAX_OF_ONE {
            issue(user(2, 2), 3);
        }
        let mut fits = |token: &str, caller| {
            let redeemed = tokens.redeem(Some(token), &caller, &task, at(4));
            redeemed.is_ok()
        };
        assert!(!fits(&first, user(2, 2)));
        // Whatever its group.
        assert!(fits(&second, user(2, 3)));
        assert!(fits(&others, user(1, 1)));
        assert!(!fits(&others, user(1, 1)), "it was used");
    }
}
