//! What happens in one simulation: a list of steps drawn from a seed. Each seed draws its own mix of load and faults, so that one that
//! would drown the others is missing in many.

use crate::random::Random;

/// Simulated time in µs.
pub(crate) type Time = u64;

pub(crate) const MS: Time = 1_000;
pub(crate) const SECOND: Time = 1_000 * MS;

/// The channels that clients use.
pub(crate) const CHANNELS: [&str; 7] = [
    "presence-a",
    "presence-b",
    "news",
    "private-talk",
    "cache-last",
    "past-events",
    ONLINE,
];
/// Whether the user `u0` is online; the hexadecimal is the id.
pub(crate) const ONLINE: &str = "#online-7530";
/// The user that is watched.
pub(crate) const WATCHED: &str = "u0";

/// One seed's world and what happens in it.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    pub(crate) clients: usize,
    pub(crate) users: usize,
    /// Distinct users that a presence channel has room for.
    pub(crate) room: usize,
    /// One way between a node and Redis.
    pub(crate) latency: (Time, Time),
    /// Whether subscribers are told how many they are, and backends hear of it.
    pub(crate) counts: bool,
    /// Whether pushes of a command's own connection come before its reply, as before Redis 7.2.
    pub(crate) pushes_first: bool,
    /// Nodes' clocks run fast or slow by up to this many parts per thousand.
    pub(crate) drift: i64,
    /// Whether nodes wait for each other's clients after a few events, or hardly ever.
    pub(crate) narrow_flow: bool,
    pub(crate) steps: Vec<Step>,
}

/// Something that happens at a time.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) at: Time,
    pub(crate) what: What,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    Join {
        client: usize,
        channel: usize,
    },
    Leave {
        client: usize,
        channel: usize,
    },
    /// The client's connection ends, and another one begins.
    Reconnect {
        client: usize,
    },
    Publish {
        node: usize,
        channel: usize,
        except: Option<usize>,
    },
    Fault(Fault),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection breaks; commands on their way may still be executed, at once or much later.
    Cut {
        node: usize,
        executes: bool,
    },
    /// Nothing comes through in either direction, and nobody says so.
    Silence {
        node: usize,
        lasts: Time,
    },
    /// The process is gone; another one begins after a while.
    Kill {
        node: usize,
        away: Time,
    },
    /// The process is told to stop, and does; another one begins after a while.
    Stop {
        node: usize,
        away: Time,
    },
    /// The process stands still.
    Pause {
        node: usize,
        lasts: Time,
    },
    /// Redis restarts without data.
    RestartEmpty {
        away: Time,
    },
    /// A replica takes over that has not heard the latest.
    Promote {
        lag: Time,
        away: Time,
    },
    /// Redis loses its data but no connection.
    Flush,
    /// Redis loses what it knows of the nodes, as when one master of a Redis Cluster begins empty.
    LoseNodes,
    /// Redis forgets its scripts.
    ScriptFlush,
    /// Every command takes this long.
    Slow {
        each: Time,
        lasts: Time,
    },
    /// Redis stands still.
    Hang {
        lasts: Time,
    },
    OutOfMemory {
        lasts: Time,
    },
    /// A key of a channel gets another type, and is removed after a while.
    WrongType {
        channel: usize,
        lasts: Time,
    },
}

impl Fault {
    /// Whether Redis may lose what it has acknowledged.
    pub(crate) fn loses_data(self) -> bool {
        matches!(
            self,
            Self::RestartEmpty { .. } | Self::Promote { .. } | Self::Flush | Self::LoseNodes
        )
    }
}

/// The numbers of some kinds of faults, as they are drawn.
const KILL: usize = 2;
const RESTART_EMPTY: usize = 4;
const PROMOTE: usize = 5;
const STOP: usize = 12;

/// How long steps go on; after that everything is well.
const BUSY: Time = 40 * SECOND;

impl Plan {
    pub(crate) fn of(seed: u64) -> Self {
        let mut random = Random::seeded(seed);
        let nodes = 1 + random.below(4);
        let clients = nodes * (1 + random.below(5));
        let slowest = *random.pick(&[MS / 2, 2 * MS, 20 * MS, 200 * MS]);
        let mut plan = Self {
            seed,
            nodes,
            clients,
            users: 1 + random.below(5),
            room: *random.pick(&[2, 3, 100, 100]),
            latency: (50, slowest),
            counts: random.below(2) == 0,
            pushes_first: random.below(2) == 0,
            drift: i64::try_from(random.below(3)).expect("small") * 5,
            narrow_flow: seed.is_multiple_of(2),
            steps: Vec::new(),
        };
        plan.draw_steps(&mut random);
        plan.draw_faults(&mut random);
        plan.steps.sort_by_key(|step| step.at);
        plan
    }

    fn draw_steps(&mut self, random: &mut Random) {
        let steps = 20 + random.below(180);
        // Some seeds use few channels, so that more happens in each.
        let channels: Vec<usize> = (0..1 + random.below(CHANNELS.len()))
            .map(|_| random.below(CHANNELS.len()))
            .collect();
        let weights = [
            1 + random.below(10),
            1 + random.below(10),
            random.below(3),
            random.below(6),
        ];
        let mut at = 0;
        // Bursts and pauses.
        let pace = *random.pick(&[MS, 20 * MS, BUSY / 150]);
        for _ in 0..steps {
            at += if random.below(10) == 0 {
                random.below(usize::try_from(4 * SECOND).expect("small")) as u64
            } else {
                random.below(usize::try_from(2 * pace).expect("small")) as u64
            };
            let client = random.below(self.clients);
            let channel = *random.pick(&channels);
            let mut draw = random.below(weights.iter().sum());
            let kind = weights
                .iter()
                .position(|weight| match draw.checked_sub(*weight) {
                    Some(rest) => {
                        draw = rest;
                        false
                    }
                    None => true,
                });
            let what = match kind {
                Some(0) => What::Join { client, channel },
                Some(1) => What::Leave { client, channel },
                Some(2) => What::Reconnect { client },
                _ => What::Publish {
                    node: random.below(self.nodes),
                    channel,
                    except: (random.below(4) == 0).then(|| random.below(self.clients)),
                },
            };
            self.steps.push(Step {
                at: at % BUSY,
                what,
            });
        }
    }

    fn draw_faults(&mut self, random: &mut Random) {
        // A third of the seeds have none, most have few kinds of them.
        let faults = random.below(9).saturating_sub(2);
        let kinds: Vec<usize> = (0..1 + random.below(4)).map(|_| random.below(13)).collect();
        let is_harmless = |kind: &usize| ![KILL, RESTART_EMPTY, PROMOTE, STOP].contains(kind);
        for _ in 0..faults {
            let at = random.below(usize::try_from(BUSY).expect("small")) as u64;
            let kind = *random.pick(&kinds);
            let mut fault = self.draw_fault(kind, random);
            // Where the rows of a node are that ends then, or those that a second loss brings back, nobody knows.
            if fault == Fault::Flush && self.seed % 5 == 4 && kinds.iter().all(is_harmless) {
                fault = Fault::LoseNodes;
            }
            self.steps.push(Step {
                at,
                what: What::Fault(fault),
            });
        }
    }

    fn draw_fault(&self, kind: usize, random: &mut Random) -> Fault {
        let (node, channel) = (random.below(self.nodes), random.below(CHANNELS.len()));
        let mut time = |max: Time| random.below(usize::try_from(max).expect("small")) as u64;
        match kind {
            0 => Fault::Cut {
                node,
                executes: time(2) == 0,
            },
            1 => Fault::Silence {
                node,
                lasts: time(12 * SECOND),
            },
            KILL => Fault::Kill {
                node,
                away: time(8 * SECOND),
            },
            3 => Fault::Pause {
                node,
                lasts: time(12 * SECOND),
            },
            RESTART_EMPTY => Fault::RestartEmpty {
                away: time(4 * SECOND),
            },
            PROMOTE => Fault::Promote {
                lag: time(SECOND),
                away: time(4 * SECOND),
            },
            6 => Fault::Flush,
            7 => Fault::ScriptFlush,
            8 => Fault::Slow {
                each: time(20 * MS),
                lasts: time(5 * SECOND),
            },
            9 => Fault::Hang {
                lasts: time(9 * SECOND),
            },
            10 => Fault::OutOfMemory {
                lasts: time(6 * SECOND),
            },
            11 => Fault::WrongType {
                channel,
                lasts: time(10 * SECOND),
            },
            _ => Fault::Stop {
                node,
                away: time(4 * SECOND),
            },
        }
    }

    pub(crate) fn faults(&self) -> impl Iterator<Item = Fault> {
        self.steps.iter().filter_map(|step| match step.what {
            What::Fault(fault) => Some(fault),
            _ => None,
        })
    }

    /// Whether a replica may take over.
    pub(crate) fn is_replicated(&self) -> bool {
        self.faults()
            .any(|fault| matches!(fault, Fault::Promote { .. }))
    }
}
