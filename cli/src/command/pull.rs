//! `pull`

use rbuild_image::Platform;

use crate::args::PullArgs;
use crate::exit::{Doing, Exit, Outcome};
use crate::progress::Transfers;
use crate::registry;
use crate::session::Session;

pub(crate) fn run(args: &PullArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let _working = store.session().doing(|| "cannot lock the local store")?;
    let client = session.registry()?;
    let platform = args.platform.clone().unwrap_or_else(Platform::host);
    let before = store
        .resolve(&args.name)
        .doing(|| format!("cannot look up `{}`", args.name.familiar()))?;
    let transfers = Transfers::start(session.printer, args.quiet, "pull");
    let image = registry::pull(&client, session, &store, &args.name, &platform, &transfers);
    transfers.finish();
    session.show_warnings(&client);
    let image = image?;
    let printer = session.printer;
    let config = image.config.value();
    let own = Platform::new(&config.os, &config.architecture, config.variant.as_deref());
    if !config.os.is_empty() && !own.satisfies(&platform) {
        printer.warning(&format!(
            "`{}` is an image for `{own}`, not for `{platform}`",
            args.name.familiar()
        ));
    }
    if !args.quiet {
        printer.line(&format!("Digest: {}", image.top.descriptor.digest))?;
        let is_new = before.is_none_or(|before| before.digest != image.manifest_descriptor.digest);
        printer.line(&format!(
            "Status: {} for {}",
            if is_new {
                "Downloaded newer image"
            } else {
                "Image is up to date"
            },
            args.name.familiar()
        ))?;
    }
    printer.line(&args.name.to_string())?;
    Ok(Exit::Done)
}
