//! The interpreter: real Lua 5.1, in which scripts see what Redis shows them.
//!
//! Each thread has one, with the scripts that were compiled so far. While a script runs, the interpreter holds the state of the server that
//! runs it.

mod cjson;

use std::{cell::RefCell, collections::HashMap, mem, rc::Rc};

use bytes::Bytes;
use mlua::{Function, Lua, LuaOptions, MultiValue, StdLib, Table, Value};

use super::{
    Call, ErrorReply, Flag, Protocol, Reply, Server, Topology, number, reply::Outcome, slot, table,
};

/// A compiled script.
#[derive(Clone)]
pub(super) struct Script {
    /// The SHA-1 of the text, in hexadecimal.
    pub(super) sha: Rc<str>,
    function: Function,
}

/// Compiles a script, or returns the one that was compiled before.
pub(super) fn compile(text: &Bytes) -> Result<Script, ErrorReply> {
    INTERPRETER.with(|interpreter| interpreter.compile(text))
}

/// Runs a script; what follows the keys among the arguments is its ARGV.
pub(super) fn run(call: &mut Call<'_>, script: &Script, keys: &[Bytes]) -> Outcome {
    let argv = call.args.get(3 + keys.len()..).unwrap_or_default();
    INTERPRETER.with(|interpreter| {
        let result = interpreter.run(call, script, keys, argv);
        result.expect("Lua has memory and stack enough")
    })
}

thread_local! {
    static INTERPRETER: Interpreter = Interpreter::new().expect("the prelude is right");
}

/// Maximum number of compiled scripts that are kept; one more clears them all.
const COMPILED_MAX: usize = 1024;

struct Interpreter {
    lua: Lua,
    /// What scripts find as globals, under the protection of the prelude.
    globals: Table,
    pcall: Function,
    compiled: RefCell<HashMap<Bytes, Script>>,
    running: Slot,
}

type Slot = Rc<RefCell<Option<Running>>>;

/// The run of a script.
struct Running {
    server: Server,
    connection: u64,
    /// The slot of the declared keys.
    slot: Option<u16>,
    effect: Effect,
}

/// Whether a script has written. One that has is not stopped any more, neither for want of memory nor on a replica.
#[derive(Clone, Copy, PartialEq)]
enum Effect {
    None,
    Written,
}

impl Interpreter {
    fn new() -> mlua::Result<Self> {
        let libraries = StdLib::STRING | StdLib::TABLE | StdLib::MATH;
        // A panic of ours ends the test, whatever the script does about errors.
        let options = LuaOptions::new().catch_rust_panics(false);
        let lua = Lua::new_with(libraries, options)?;
        let running = Slot::default();
        let natives = natives(&lua, &running)?;
        let pcall = lua.globals().get("pcall")?;
        let prelude = lua.load(include_str!("prelude.lua")).set_name("=prelude");
        let (globals, environment): (Table, Table) = prelude.call(natives)?;
        lua.set_globals(environment)?;
        Ok(Self {
            lua,
            globals,
            pcall,
            compiled: RefCell::default(),
            running,
        })
    }

    fn compile(&self, text: &Bytes) -> Result<Script, ErrorReply> {
        let mut compiled = self.compiled.borrow_mut();
        if let Some(script) = compiled.get(text) {
            return Ok(script.clone());
        }
        let chunk = self.lua.load(&text[..]).set_name("@user_script");
        let function = chunk
            .set_mode(mlua::chunk::ChunkMode::Text)
            .into_function()
            .map_err(|error| {
                let reason = match error {
                    mlua::Error::SyntaxError { message, .. } => message,
                    other => other.to_string(),
                };
                let line = format!("ERR Error compiling script (new function): {reason}");
                ErrorReply::from_line(&line)
            })?;
        let script = Script {
            sha: sha1(text).into(),
            function,
        };
        if compiled.len() >= COMPILED_MAX {
            compiled.clear();
        }
        compiled.insert(text.clone(), script.clone());
        Ok(script)
    }

    fn run(
        &self,
        call: &mut Call<'_>,
        script: &Script,
        keys: &[Bytes],
        argv: &[Bytes],
    ) -> mlua::Result<Outcome> {
        self.globals.raw_set("KEYS", self.strings(keys)?)?;
        self.globals.raw_set("ARGV", self.strings(argv)?)?;
        self.running.replace(Some(Running {
            server: mem::take(call.server),
            connection: call.connection,
            slot: keys.first().map(|key| slot::of(key)),
            effect: Effect::None,
        }));
        let result = self.pcall.call::<(bool, Value)>(&script.function);
        let running = self.running.take().expect("nothing else takes it");
        *call.server = running.server;
        match result? {
            (true, value) => reply_of(&value).map(Ok),
            (false, error) => error_of(&error).map(Err),
        }
    }

    fn strings(&self, items: &[Bytes]) -> mlua::Result<Table> {
        let strings = items.iter().map(|item| self.lua.create_string(item));
        self.lua
            .create_sequence_from(strings.collect::<mlua::Result<Vec<_>>>()?)
    }
}

/// The functions that the prelude is built on. A fallible one returns its result or its error, and whether it failed.
fn natives(lua: &Lua, running: &Slot) -> mlua::Result<Table> {
    let natives = lua.create_table()?;
    let slot = running.clone();
    let command = lua.create_function(move |lua, words: MultiValue| {
        let outcome = match arguments(&words) {
            Ok(args) => {
                let mut running = slot.borrow_mut();
                let running = running.as_mut().expect("commands come from scripts");
                running.command(&args)
            }
            Err(error) => Err(error),
        };
        let failed = outcome.is_err();
        let reply = outcome.unwrap_or_else(Reply::Error);
        Ok((lua_value(lua, &reply)?, failed))
    })?;
    natives.set("command", command)?;
    let sha1hex = lua.create_function(|_, text: mlua::LuaString| Ok(sha1(&text.as_bytes())))?;
    natives.set("sha1hex", sha1hex)?;
    let encode = lua.create_function(|lua, value: Value| {
        let text = cjson::encode(&value);
        fallible(
            lua,
            text.and_then(|text| Ok(Value::String(lua.create_string(text)?))),
        )
    })?;
    natives.set("encode", encode)?;
    let decode = lua.create_function(|lua, text: mlua::LuaString| {
        fallible(lua, cjson::decode(lua, &text.as_bytes()))
    })?;
    natives.set("decode", decode)?;
    natives.set("null", Value::NULL)?;
    Ok(natives)
}

/// A result of `cjson`, as the prelude takes it.
fn fallible(lua: &Lua, result: Result<Value, cjson::Trouble>) -> mlua::Result<(Value, bool)> {
    match result {
        Ok(value) => Ok((value, false)),
        Err(cjson::Trouble::Refused(text)) => Ok((Value::String(lua.create_string(text)?), true)),
        Err(cjson::Trouble::Lua(error)) => Err(error),
    }
}

/// The SHA-1 in hexadecimal.
fn sha1(text: &[u8]) -> String {
    sha1_smol::Sha1::from(text).digest().to_string()
}

impl Running {
    /// Runs a command of the script.
    fn command(&mut self, args: &[Bytes]) -> Outcome {
        let spec = table::find(args)
            .map_err(|_| ErrorReply::plain("Unknown Redis command called from script"))?;
        if !spec.takes(args.len()) {
            let text = "Wrong number of args calling Redis command from script";
            return Err(ErrorReply::plain(text));
        }
        if spec.has(Flag::NoScript) {
            let text = "This Redis command is not allowed from script";
            return Err(ErrorReply::plain(text));
        }
        if self.effect == Effect::None {
            self.server.mode.check(spec)?;
        }
        if spec.has(Flag::Write) {
            self.effect = Effect::Written;
        }
        self.check_slot(spec, args)?;
        self.server
            .run(spec, self.connection, args, Protocol::Resp2)
    }

    fn check_slot(&self, spec: &table::Spec, args: &[Bytes]) -> Result<(), ErrorReply> {
        if self.server.topology == Topology::Single {
            return Ok(());
        }
        match spec.slot(args) {
            Ok(slot) if slot.is_none() || slot == self.slot => Ok(()),
            _ => Err(ErrorReply::plain(
                "Script attempted to access a non local key in a cluster node",
            )),
        }
    }
}

/// The words of a command.
fn arguments(words: &MultiValue) -> Result<Vec<Bytes>, ErrorReply> {
    if words.is_empty() {
        let text = "Please specify at least one argument for this redis lib call";
        return Err(ErrorReply::plain(text));
    }
    let bytes = words.iter().map(|word| match word {
        Value::String(text) => Ok(Bytes::copy_from_slice(&text.as_bytes())),
        Value::Integer(number) => Ok(Bytes::from(number::general(*number as f64, 17))),
        Value::Number(number) => Ok(Bytes::from(number::general(*number, 17))),
        _ => Err(ErrorReply::plain(
            "Lua redis lib command arguments must be strings or integers",
        )),
    });
    bytes.collect()
}

/// A reply as scripts see it: that of RESP2, with `false` for nil and tables for errors and statuses.
fn lua_value(lua: &Lua, reply: &Reply) -> mlua::Result<Value> {
    let text = |bytes: &[u8]| Ok(Value::String(lua.create_string(bytes)?));
    let named = |name: &str, text: &str| {
        let table = lua.create_table_with_capacity(0, 1)?;
        table.raw_set(name, text)?;
        Ok(Value::Table(table))
    };
    match reply {
        Reply::Nil => Ok(Value::Boolean(false)),
        Reply::Int(number) => Ok(Value::Number(*number as f64)),
        Reply::Bool(flag) => Ok(Value::Number(f64::from(u8::from(*flag)))),
        Reply::Double(number) => text(number::general(*number, 17).as_bytes()),
        Reply::Bulk(bytes) => text(bytes),
        Reply::Status(status) => named("ok", status),
        Reply::Error(error) => named("err", &error.line()),
        Reply::Array(items) | Reply::Set(items) => sequence(lua, items.iter()),
        Reply::Map(pairs) => sequence(lua, pairs.iter().flat_map(|(key, value)| [key, value])),
    }
}

fn sequence<'a>(lua: &Lua, items: impl Iterator<Item = &'a Reply>) -> mlua::Result<Value> {
    let values = items.map(|item| lua_value(lua, item));
    let values = values.collect::<mlua::Result<Vec<_>>>()?;
    Ok(Value::Table(lua.create_sequence_from(values)?))
}

/// What a script returns, as its client reads it.
fn reply_of(value: &Value) -> mlua::Result<Reply> {
    Ok(match value {
        Value::String(text) => Reply::Bulk(Bytes::copy_from_slice(&text.as_bytes())),
        Value::Boolean(true) => Reply::Int(1),
        Value::Integer(number) => Reply::Int(*number),
        Value::Number(number) => Reply::Int(truncated(*number)),
        Value::Table(table) => return reply_of_table(table),
        _ => Reply::Nil,
    })
}

fn reply_of_table(table: &Table) -> mlua::Result<Reply> {
    if let Value::String(line) = table.raw_get("err")? {
        return Ok(Reply::Error(ErrorReply::from_line(&line.to_string_lossy())));
    }
    if let Value::String(status) = table.raw_get("ok")? {
        let status = status.to_string_lossy().replace(['\r', '\n'], " ");
        return Ok(Reply::Status(status));
    }
    let mut items = Vec::new();
    loop {
        match table.raw_get(items.len() + 1)? {
            Value::Nil => return Ok(Reply::Array(items)),
            value => items.push(reply_of(&value)?),
        }
    }
}

/// C's conversion of a double on the machines that Redis runs on.
fn truncated(number: f64) -> i64 {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if (-LIMIT..LIMIT).contains(&number) {
        #[expect(clippy::cast_possible_truncation, reason = "it is within range")]
        let integer = number as i64;
        integer
    } else {
        i64::MIN
    }
}

/// The reply to a script that ended with an error.
fn error_of(error: &Value) -> mlua::Result<ErrorReply> {
    if let Value::Table(table) = error
        && let Value::String(line) = table.raw_get("err")?
    {
        return Ok(ErrorReply::from_line(&line.to_string_lossy()));
    }
    let text = error.to_string()?;
    Ok(ErrorReply::from_line(&format!("ERR {text}")))
}
