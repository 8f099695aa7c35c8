//! Every parser that takes bytes or text from outside, fed with anything and with damaged captures.
//!
//! None panics, and none takes damage for a smaller number or a smaller inventory. What is private has the like
//! beside it: `observe::guarding`, `observe::pulse`, `guard::front`, `guard::lifeboat::manifest`, `cli`.

mod damage;
mod observed;
mod told;
mod written;
