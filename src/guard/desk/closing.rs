//! The end of the desk: nothing is begun any more once the guard ends, and the guard waits for what has been begun.
//! Applications that hold still are let go that way, and what was done is on record.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::message::Input;
use super::super::workers::Inputs;

/// What the guard's loop and the worker tell each other.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Closing(Arc<State>);

#[derive(Debug, Default)]
struct State {
    is_ending: AtomicBool,
    is_at_work: AtomicBool,
}

/// For as long as this is there the guard waits.
#[derive(Debug)]
pub(super) struct AtWork {
    closing: Closing,
    inputs: Inputs,
}

impl Closing {
    /// Nothing is begun from here on.
    pub(in super::super) fn close(&self) {
        self.0.is_ending.store(true, Ordering::SeqCst);
    }

    pub(in super::super) fn is_at_work(&self) -> bool {
        self.0.is_at_work.load(Ordering::SeqCst)
    }

    pub(super) fn is_ending(&self) -> bool {
        self.0.is_ending.load(Ordering::SeqCst)
    }

    /// Nothing once the guard ends. Whoever closes later than this sees that there is work.
    pub(super) fn begin(&self, inputs: &Inputs) -> Option<AtWork> {
        self.0.is_at_work.store(true, Ordering::SeqCst);
        let at_work = AtWork {
            closing: self.clone(),
            inputs: inputs.clone(),
        };
        (!self.is_ending()).then_some(at_work)
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.closing.0.is_at_work.store(false, Ordering::SeqCst);
        if self.closing.is_ending() {
            // A full queue wakes the loop as well.
            let _ = self.inputs.try_send(Input::Tick);
        }
    }
}
