//! A vector: what a client does, what must come back, and what must have reached the device.

use std::collections::BTreeMap;
use std::fmt;

use crate::lab::{Helper, Lab, Target};
use crate::wire::{Answer, Client, Hex};

pub struct Vector {
    pub name: String,
    /// The entry of docs/known-bugs.md under which qemu-pr-helper differs, and then must differ.
    pub differs: Option<&'static str>,
    fault: String,
    steps: Vec<(usize, Step)>,
    device: Device,
    connection: usize,
}

enum Step {
    /// With the features to ask for; `None` says nothing at all.
    Connect(Option<[u8; 4]>),
    Send(Vec<u8>, Vec<Target>),
    FinishWriting,
    Expect(Expect),
}

#[derive(Clone)]
pub enum Expect {
    Closed,
    /// Exactly this; sense is filled up with zeros to its 96 bytes.
    Reply {
        status: u32,
        sense: Vec<u8>,
        payload: Vec<u8>,
    },
    /// CHECK CONDITION, whatever the sense.
    CheckCondition,
    /// Any status but GOOD.
    NotGood,
    /// GOOD with these bytes, and nothing but zeros after them.
    Begins(&'static [u8]),
}

pub enum Device {
    Anything,
    /// No command whose CDB begins so.
    Never(&'static [u8]),
    /// A command whose CDB begins so, and whose log line has these words.
    Saw(&'static [u8], &'static str),
    /// A command whose CDB begins so, with at least this timeout in milliseconds.
    Timeout(&'static [u8], u32),
}

pub fn vector(name: impl Into<String>) -> Vector {
    let (fault, device) = (String::new(), Device::Anything);
    Vector {
        name: name.into(),
        differs: None,
        fault,
        steps: vec![],
        device,
        connection: 0,
    }
}

impl Vector {
    pub fn differs(mut self, entry: &'static str) -> Vector {
        self.differs = Some(entry);
        self
    }

    /// What the device does to PR commands, in the shim's words.
    pub fn fault(mut self, lines: impl Into<String>) -> Vector {
        self.fault = lines.into();
        self
    }

    /// Steps that follow are taken on that connection; it is opened by its first step.
    pub fn on(mut self, connection: usize) -> Vector {
        self.connection = connection;
        self
    }

    pub fn connect(self, requested_features: [u8; 4]) -> Vector {
        self.step(Step::Connect(Some(requested_features)))
    }

    pub fn connect_mutely(self) -> Vector {
        self.step(Step::Connect(None))
    }

    /// One sendmsg.
    pub fn send(self, bytes: &[u8], fds: &[Target]) -> Vector {
        self.step(Step::Send(bytes.to_vec(), fds.to_vec()))
    }

    /// One sendmsg for each byte.
    pub fn send_each(self, bytes: &[u8]) -> Vector {
        bytes
            .iter()
            .fold(self, |this, byte| this.send(&[*byte], &[]))
    }

    /// A whole request as QEMU sends it: the ten bytes of a CDB padded to sixteen, with the disk, then the parameters.
    pub fn request(self, cdb: &[u8; 10], parameters: &[u8]) -> Vector {
        self.request_to(Target::Disk, cdb, parameters)
    }

    pub fn request_to(self, target: Target, cdb: &[u8; 10], parameters: &[u8]) -> Vector {
        let this = self.send(&padded(cdb), &[target]);
        if parameters.is_empty() {
            this
        } else {
            this.send(parameters, &[])
        }
    }

    pub fn finish_writing(self) -> Vector {
        self.step(Step::FinishWriting)
    }

    pub fn expect(self, expect: Expect) -> Vector {
        self.step(Step::Expect(expect))
    }

    pub fn device(mut self, device: Device) -> Vector {
        self.device = device;
        self
    }

    fn leaves_greeting_unread(&self) -> bool {
        self.steps
            .iter()
            .any(|(_, step)| matches!(step, Step::Connect(None)))
    }

    fn step(mut self, step: Step) -> Vector {
        self.steps.push((self.connection, step));
        self
    }

    /// `Err` says what was expected and what came instead.
    pub fn run(&self, lab: &Lab, helper: &Helper) -> Result<(), Difference> {
        lab.set_fault(&self.fault);
        lab.forget_commands();
        let mut clients: BTreeMap<usize, Client> = BTreeMap::new();
        for (connection, step) in &self.steps {
            if let Step::Connect(requested) = step {
                let mut client = Client::connect(&helper.socket).expect("the helper accepts");
                if let Some(requested) = requested {
                    client.handshake(*requested).expect("the helper greets");
                }
                clients.insert(*connection, client);
                continue;
            }
            let client = clients
                .entry(*connection)
                .or_insert_with(|| helper.client());
            match step {
                Step::Connect(_) => unreachable!("handled above"),
                Step::Send(bytes, targets) => {
                    let fds: Vec<_> = targets.iter().map(|&target| lab.open(target)).collect();
                    let fds: Vec<_> = fds.iter().map(std::os::fd::AsFd::as_fd).collect();
                    client.send(bytes, &fds).expect("send");
                }
                Step::FinishWriting => client.finish_writing().expect("shutdown"),
                Step::Expect(expect) => {
                    let answer = client.answer();
                    if !expect.allows(&answer) {
                        return Err(Difference {
                            expected: expect.to_string(),
                            found: answer.to_string(),
                        });
                    }
                }
            }
        }
        if clients.values_mut().any(Client::has_more) && !self.leaves_greeting_unread() {
            return Err(Difference {
                expected: "no more bytes".into(),
                found: "bytes after the reply".into(),
            });
        }
        self.device.check(&lab.commands())
    }
}

pub struct Difference {
    pub expected: String,
    pub found: String,
}

pub fn padded(cdb: &[u8; 10]) -> [u8; 16] {
    let mut padded = [0; 16];
    padded[..10].copy_from_slice(cdb);
    padded
}

impl Expect {
    fn allows(&self, answer: &Answer) -> bool {
        match (self, answer) {
            (Expect::Closed, Answer::Closed) => true,
            (
                Expect::Reply {
                    status,
                    sense,
                    payload,
                },
                Answer::Reply {
                    status: s,
                    sense: got,
                    payload: p,
                },
            ) => {
                let (head, tail) = got.split_at(sense.len());
                status == s && sense == head && tail.iter().all(|&byte| byte == 0) && payload == p
            }
            (
                Expect::CheckCondition,
                Answer::Reply {
                    status, payload, ..
                },
            ) => *status == 2 && payload.is_empty(),
            (
                Expect::NotGood,
                Answer::Reply {
                    status, payload, ..
                },
            ) => *status != 0 && payload.is_empty(),
            (
                Expect::Begins(bytes),
                Answer::Reply {
                    status, payload, ..
                },
            ) => {
                *status == 0
                    && payload
                        .strip_prefix(*bytes)
                        .is_some_and(|rest| rest.iter().all(|&byte| byte == 0))
            }
            _ => false,
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expect::Closed => write!(f, "closed"),
            Expect::Reply {
                status,
                sense,
                payload,
            } => Answer::Reply {
                status: *status,
                sense: sense.clone(),
                payload: payload.clone(),
            }
            .fmt(f),
            Expect::CheckCondition => write!(f, "CHECK CONDITION"),
            Expect::NotGood => write!(f, "anything but GOOD"),
            Expect::Begins(bytes) => write!(f, "GOOD data {}, then only zeros", Hex(bytes)),
        }
    }
}

impl Device {
    fn check(&self, log: &str) -> Result<(), Difference> {
        let seen = |prefix: &[u8]| -> Vec<String> {
            let cdb = format!(" cdb={}", Hex(prefix));
            log.lines()
                .filter(|line| line.contains(&cdb))
                .map(str::to_owned)
                .collect()
        };
        let fail = |expected: String, found: &[String]| {
            let found = if found.is_empty() {
                "no such command".to_owned()
            } else {
                found.join("; ")
            };
            Err(Difference {
                expected: format!("at the device: {expected}"),
                found,
            })
        };
        match self {
            Device::Anything => Ok(()),
            Device::Never(prefix) => match seen(prefix) {
                none if none.is_empty() => Ok(()),
                some => fail(format!("no {}", Hex(prefix)), &some),
            },
            Device::Saw(prefix, words) => {
                let some = seen(prefix);
                let has_all = |line: &String| {
                    words
                        .split(' ')
                        .all(|word| line.split(' ').any(|other| other == word))
                };
                if some.iter().any(has_all) {
                    Ok(())
                } else {
                    fail((*words).to_owned(), &some)
                }
            }
            Device::Timeout(prefix, least) => {
                let some = seen(prefix);
                let timeout = |line: &String| -> Option<u32> {
                    line.split(' ')
                        .find_map(|word| word.strip_prefix("timeout="))?
                        .parse()
                        .ok()
                };
                if !some.is_empty() && some.iter().all(|line| timeout(line) >= Some(*least)) {
                    Ok(())
                } else {
                    fail(format!("timeout of {least} ms or more"), &some)
                }
            }
        }
    }
}
