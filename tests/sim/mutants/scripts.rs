//! Mistakes in the Lua scripts.

use super::Mutant;

const WRITE: &str = "src/engine/cluster/redis/scripts/write.lua";
const LEASE: &str = "src/engine/cluster/redis/scripts/lease.lua";
const REGISTER: &str = "src/engine/cluster/redis/scripts/register.lua";
const KEEP: &str = "src/engine/cluster/redis/scripts/keep.lua";
const RECORD: &str = "src/engine/cluster/redis/scripts/record.lua";

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "the answer to a batch is not kept",
        file: WRITE,
        original: "(#told > 0 or #pending > 0) and cjson.encode({told, pending}) or ''",
        replacement: "''",
    },
    Mutant {
        name: "a repeated batch's edges are not told",
        file: WRITE,
        original: "told, pending = answer[1], answer[2]",
        replacement: "pending = answer[2]",
    },
    Mutant {
        name: "a loss is not noticed by the batch's number",
        file: WRITE,
        original: "if last < request.after then return {'behind'} end",
        replacement: "",
    },
    Mutant {
        name: "former subscriptions are counted twice",
        file: WRITE,
        original: "local change = entry.count - old - formerly",
        replacement: "local change = entry.count - old",
    },
    Mutant {
        name: "the total is set, not added to",
        file: WRITE,
        original: "total = redis.call('HINCRBY', key('total'), entry.name, change)",
        replacement: "total = entry.count redis.call('HSET', key('total'), entry.name, total)",
    },
    Mutant {
        name: "an edge does not raise the sequence",
        file: WRITE,
        original: "redis.call('HINCRBY', of('meta', entry.name), 'sequence', 1)",
        replacement: "redis.call('HGET', of('meta', entry.name), 'sequence')",
    },
    Mutant {
        name: "a return leaves the departure's mark",
        file: WRITE,
        original: "return redis.call('HDEL', key('gone'), mark_field(kind, name, user)) == 1",
        replacement: "return redis.call('HEXISTS', key('gone'), mark_field(kind, name, user)) == 1",
    },
    Mutant {
        name: "a claim does not look at the mark",
        file: WRITE,
        original: "if redis.call('HGET', key('gone'), field) ~= mark then return end",
        replacement: "",
    },
    Mutant {
        name: "a user on three nodes counts as gone from two",
        file: WRITE,
        original: "  if nodes > 1 then",
        replacement: "  if nodes > 2 then",
    },
    Mutant {
        name: "a second node's seat is not counted",
        file: WRITE,
        original: "(nodes + 1) .. '|' .. known",
        replacement: "nodes .. '|' .. known",
    },
    Mutant {
        name: "a full channel takes one more",
        file: WRITE,
        original: "redis.call('HLEN', of('members', name)) >= entry.max",
        replacement: "redis.call('HLEN', of('members', name)) > entry.max",
    },
    Mutant {
        name: "seats of former epochs stay",
        file: WRITE,
        original: "if entry.max ~= nil and request.formers then end_former_seats(entry) end",
        replacement: "",
    },
    Mutant {
        name: "a dead node's last answer is thrown away",
        file: WRITE,
        original: "redis.call('SET', dead, last_answer or '', 'EX', rules.dead_s)",
        replacement: "redis.call('SET', dead, '', 'EX', rules.dead_s)",
    },
    Mutant {
        name: "a dead node's number stays",
        file: WRITE,
        original: "redis.call('HDEL', key('nodes'), owner)",
        replacement: "",
    },
    Mutant {
        name: "a dead node's departures are nobody's",
        file: WRITE,
        original: "if string.sub(marks[i + 1], 1, #prefix) == prefix then",
        replacement: "if false then",
    },
    Mutant {
        name: "an empty channel's generation stays",
        file: WRITE,
        original: "redis.call('EXPIRE', of('meta', entry.name), rules.empty_s)",
        replacement: "",
    },
    Mutant {
        name: "a miss is remembered without subscribers",
        file: WRITE,
        original: "if entry.cache then redis.call('DEL', of('missed', entry.name)) end",
        replacement: "",
    },
    Mutant {
        name: "a lost lease is simply begun again",
        file: LEASE,
        original: "local held = redis.call('ZSCORE', KEYS[1], request.node) and 1 or 0",
        replacement: "local held = 1",
    },
    Mutant {
        name: "living nodes are taken for dead",
        file: LEASE,
        original: "'(' .. ms, 'LIMIT'",
        replacement: "'(' .. ends, 'LIMIT'",
    },
    Mutant {
        name: "a dead node is nobody's once its reaper is dead",
        file: LEASE,
        original: "ipairs({KEYS[1], KEYS[3]})",
        replacement: "ipairs({KEYS[1]})",
    },
    Mutant {
        name: "only the first bucket is registered",
        file: REGISTER,
        original: "for i = 2, #ARGV do",
        replacement: "for i = 2, 2 do",
    },
    Mutant {
        name: "the numbers of a cache channel's senders stay",
        file: KEEP,
        original: "redis.call('EXPIRE', KEYS[2], request.senders_s)",
        replacement: "",
    },
    Mutant {
        name: "an event leaves the mark of a miss",
        file: KEEP,
        original: "redis.call('DEL', KEYS[3])",
        replacement: "",
    },
    Mutant {
        name: "a repeated event is recorded twice",
        file: RECORD,
        original: ">= request.number then return end",
        replacement: ">= request.number + 1000 then return end",
    },
    Mutant {
        name: "the newest event goes when there are too many",
        file: RECORD,
        original: "redis.call('LPOP', KEYS[1])",
        replacement: "redis.call('RPOP', KEYS[1])",
    },
    Mutant {
        name: "a history never expires",
        file: RECORD,
        original: "redis.call('EXPIRE', KEYS[1], request.age_s)",
        replacement: "",
    },
];
