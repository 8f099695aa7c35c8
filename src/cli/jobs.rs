//! `cowherd jobs`: what the guard was asked for, what it is doing, and how it ended.

use crate::client;
use crate::model::action::Job;
use crate::report::jobs;

use super::api::{Api, ApiError};
use super::{Failure, JobsArguments, now, print, print_answer};

pub(super) fn run(arguments: &JobsArguments) -> Result<(), Failure> {
    let mut api = Api::at(&arguments.guard)?;
    let asked = ask(&mut api, arguments.id.as_deref());
    if arguments.json {
        print_answer(api.take_last())?;
        asked?;
        return Ok(());
    }
    print(&jobs::list(&asked?, now()))
}

fn ask(api: &mut Api, id: Option<&str>) -> Result<Vec<Job>, ApiError> {
    match id {
        Some(id) => {
            let job = api.get(&format!("/jobs/{}", client::encoded(id)))?;
            Ok(vec![job])
        }
        None => api.get("/jobs"),
    }
}
