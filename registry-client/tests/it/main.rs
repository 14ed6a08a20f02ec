//! The client against registries: a fake one that misbehaves on demand, and a real one.

#[cfg(test)]
mod auth;
#[cfg(test)]
mod cut;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod peer;
#[cfg(test)]
mod pull;
#[cfg(test)]
mod push;
#[cfg(test)]
mod support;
