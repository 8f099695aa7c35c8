//! Whether snapshots of several volumes may be taken at one moment. Pure.

use crate::model::action::{Action, Caller, Create, Verb};
use crate::model::bounds;
use crate::model::names::Name;
use crate::model::refusal::{Code, Refusal};
use crate::model::step::Task;
use crate::model::volume::Volume;

use super::{Subject, harmless, quiesce, reads_as_pve};

/// Before a name that would be read as another's.
const ASIDE: &str = "s-";

impl Subject<'_> {
    /// One task with all others in it. Each is judged as if it were alone, and what they take together once more.
    pub(super) fn create_all(&self, caller: &Caller, wanted: &Create) -> Result<Task, Refusal> {
        let mut volumes = vec![self.volume];
        for reference in &wanted.with {
            let volume = self.site.permitted(caller, Verb::Create, reference)?;
            if volume.id.vg != self.volume.id.vg {
                let why = format!(
                    "{} is in another volume group: only those of one group are taken together",
                    volume.name
                );
                return self.refuse(Code::InvalidRequest, why);
            }
            if volumes.iter().any(|other| other.id == volume.id) {
                let why = format!("{} is named twice", volume.name);
                return self.refuse(Code::InvalidRequest, why);
            }
            volumes.push(volume);
        }
        let suffix = self.suffix(wanted.name.as_ref(), &volumes);
        let count = volumes.len() as u64;
        let mut tasks = Vec::new();
        for volume in volumes {
            tasks.push(self.member(volume, count, &suffix, wanted)?);
        }
        let summaries: Vec<&str> = tasks
            .iter()
            .map(|task| task.plan.summary.as_str())
            .collect();
        let held = quiesce::told(wanted.quiesce.as_ref());
        let summary = format!("{}{held}, all or none", summaries.join(", "));
        let mut first = tasks.remove(0);
        first.plan = harmless(summary);
        first.quiesce = quiesce::wanted(&Action::Create(wanted.clone()));
        first.with = tasks;
        self.has_room(first.stores())?;
        Ok(first)
    }

    fn member(
        &self,
        volume: &Volume,
        together: u64,
        suffix: &str,
        wanted: &Create,
    ) -> Result<Task, Refusal> {
        let subject = Subject {
            volume,
            together,
            ..*self
        };
        let alone = Create {
            name: Some(bounds::new_name(&member_name(volume, suffix))?),
            quiesce: None,
            with: Vec::new(),
            ..wanted.clone()
        };
        let (step, plan) = subject.create(&alone)?;
        Ok(Task {
            id: volume.id.clone(),
            name: volume.name.clone(),
            step,
            plan,
            quiesce: None,
            with: Vec::new(),
        })
    }

    /// What follows each origin's name. One that is made up gives way until all names are free.
    fn suffix(&self, wanted: Option<&Name>, volumes: &[&Volume]) -> String {
        if let Some(wanted) = wanted {
            return wanted.as_str().to_owned();
        }
        let is_taken = |name: &str| {
            let mut others = self.site.volumes.iter();
            others.any(|other| other.id.vg == self.volume.id.vg && other.name.lv.as_str() == name)
        };
        let first = self.site.now.compact_utc();
        let later = (2..).map(|number| format!("{first}-{number}"));
        let mut all = std::iter::once(first.clone()).chain(later);
        let is_free = |suffix: &String| {
            let mut names = volumes.iter().map(|volume| member_name(volume, suffix));
            !names.any(|name| is_taken(&name))
        };
        all.find(is_free).unwrap_or(first)
    }
}

/// What a snapshot of this volume is called. Nobody but Proxmox VE makes what it would take for its own.
pub(super) fn member_name(volume: &Volume, suffix: &str) -> String {
    let name = format!("{}-{suffix}", volume.name.lv);
    if reads_as_pve(&name) {
        format!("{ASIDE}{name}")
    } else {
        name
    }
}

/// What follows the origin's name in that.
pub(super) fn suffix_of<'a>(origin: &Name, name: &'a Name) -> Option<&'a str> {
    let name = name.as_str();
    let after = |text: &'a str| text.strip_prefix(origin.as_str())?.strip_prefix('-');
    after(name).or_else(|| after(name.strip_prefix(ASIDE)?))
}
