//! Commands that load and run scripts.

use std::{collections::BTreeMap, rc::Rc};

use bytes::Bytes;

use super::{
    Call, ErrorReply, Reply, is_option,
    lua::{self, Script},
    number,
    reply::Outcome,
    table::{Flag, Keys, Spec},
};

const RUN: &[Flag] = &[Flag::NoScript];

pub(super) const COMMANDS: &[Spec] = &[
    Spec::new("eval", -3, Keys::Counted, RUN, eval),
    Spec::new("evalsha", -3, Keys::Counted, RUN, evalsha),
    Spec::new("script|load", 3, Keys::None, RUN, load),
    Spec::new("script|exists", -3, Keys::None, RUN, exists),
    Spec::new("script|flush", -2, Keys::None, RUN, flush),
];

/// The scripts that a server knows by their SHA-1 in lower case.
pub(super) type Scripts = BTreeMap<Rc<str>, Script>;

/// The keys of `EVAL` and `EVALSHA`.
pub(super) fn keys(args: &[Bytes]) -> Result<&[Bytes], ErrorReply> {
    let count = number::integer(&args[2]).ok_or_else(ErrorReply::not_an_integer)?;
    let count = usize::try_from(count)
        .map_err(|_| ErrorReply::plain("Number of keys can't be negative"))?;
    let rest = &args[3..];
    rest.get(..count)
        .ok_or_else(|| ErrorReply::plain("Number of keys can't be greater than number of args"))
}

fn eval(call: &mut Call<'_>) -> Outcome {
    let keys = keys(call.args)?;
    let script = lua::compile(&call.args[1])?;
    remember(call, &script);
    lua::run(call, &script, keys)
}

fn evalsha(call: &mut Call<'_>) -> Outcome {
    let keys = keys(call.args);
    let sha = call.args[1].to_ascii_lowercase();
    let sha = String::from_utf8_lossy(&sha);
    // A text that cannot be a hash is refused before the keys are looked at.
    let keys = if sha.len() == 40 { keys? } else { &[] };
    let Some(script) = call.server.scripts.get(&*sha).cloned() else {
        let line = "NOSCRIPT No matching script. Please use EVAL.";
        return Err(ErrorReply::from_line(line));
    };
    lua::run(call, &script, keys)
}

fn load(call: &mut Call<'_>) -> Outcome {
    let script = lua::compile(&call.args[2])?;
    remember(call, &script);
    Ok(Reply::text(&*script.sha))
}

fn remember(call: &mut Call<'_>, script: &Script) {
    let scripts = &mut call.server.scripts;
    if !scripts.contains_key(&script.sha) {
        scripts.insert(script.sha.clone(), script.clone());
    }
}

fn exists(call: &mut Call<'_>) -> Outcome {
    let scripts = &call.server.scripts;
    let found = call.args[2..].iter().map(|sha| {
        let sha = sha.to_ascii_lowercase();
        Reply::flag(scripts.contains_key(&*String::from_utf8_lossy(&sha)))
    });
    Ok(Reply::Array(found.collect()))
}

fn flush(call: &mut Call<'_>) -> Outcome {
    match &call.args[2..] {
        [] => {}
        [mode] if is_option(mode, "sync") || is_option(mode, "async") => {}
        _ => {
            let text = "SCRIPT FLUSH only support SYNC|ASYNC option";
            return Err(ErrorReply::plain(text));
        }
    }
    call.server.scripts.clear();
    Ok(Reply::ok())
}
