//! The logical unit: one command in, one outcome out.

use super::access;
use super::attention::Attentions;
use super::pr_out::{self, Request};
use super::refusal::Refusal;
use super::reservations::Reservations;
use super::{block, inquiry, pr_in};
use crate::scsi::pr::NexusId;
use crate::scsi::{Cdb, Command, OutAction, Outcome, SenseCode, TransportId};

const TEST_UNIT_READY: u8 = 0x00;
const REQUEST_SENSE: u8 = 0x03;
const INQUIRY: u8 = 0x12;
const READ_CAPACITY_10: u8 = 0x25;
const PR_IN: u8 = 0x5e;
const PR_OUT: u8 = 0x5f;
const SERVICE_ACTION_IN_16: u8 = 0x9e;
const REPORT_LUNS: u8 = 0xa0;

/// What a logical unit is and can do; it never changes.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its name as multipath writes it: `3` and the NAA designator in
    /// hexadecimal digits. Any other text becomes a T10 designator.
    pub wwid: String,
    /// Relative target ports.
    pub target_ports: Vec<u16>,
    /// Protocol of the target ports, as in a TransportID: 6 is SAS.
    pub protocol: u8,
    /// Capacity in blocks of 512 bytes.
    pub blocks: u64,
    /// Report 29/00 to every nexus at its first command, as real ones do.
    pub first_contact_attention: bool,
    /// PTPL_C: APTPL is supported.
    pub persist_capable: bool,
    /// ATP_C: ALL_TG_PT is supported.
    pub all_tg_pt_capable: bool,
    /// SIP_C: SPEC_I_PT is supported.
    pub spec_i_pt_capable: bool,
    /// How many nexuses can be registered.
    pub maximum_registrations: usize,
}

impl Config {
    /// A unit of 1 GiB with SAS target ports 1 and 2 that supports everything
    /// and greets nobody with 29/00.
    pub fn new(wwid: &str) -> Self {
        Config {
            wwid: wwid.to_owned(),
            target_ports: vec![1, 2],
            protocol: 0x06,
            blocks: 1 << 21,
            first_contact_attention: false,
            persist_capable: true,
            all_tg_pt_capable: true,
            spec_i_pt_capable: true,
            maximum_registrations: 1024,
        }
    }
}

/// A logical unit: pure, without clock or I/O.
#[derive(Debug, Clone)]
pub struct LogicalUnit {
    config: Config,
    reservations: Reservations,
    attentions: Attentions,
}

impl LogicalUnit {
    /// A unit nobody has registered with.
    pub fn new(config: Config) -> Self {
        LogicalUnit {
            config,
            reservations: Reservations::default(),
            attentions: Attentions::default(),
        }
    }

    /// What it is and can do.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Its persistent reservation state.
    pub fn reservations(&self) -> &Reservations {
        &self.reservations
    }

    /// The unit attentions a nexus has not been told of, the next one first.
    pub fn pending(&self, nexus: &NexusId) -> Vec<SenseCode> {
        self.attentions.pending(nexus)
    }

    /// Makes a nexus known before its first command: SPEC_I_PT takes only
    /// known initiator ports.
    pub fn attach(&mut self, nexus: &NexusId) {
        if self.attentions.attach(nexus) && self.config.first_contact_attention {
            self.attentions.raise(nexus, SenseCode::POWER_ON_OR_RESET);
        }
    }

    /// Establishes a unit attention: 29/07 after the loss of a nexus, 2A/06,
    /// 3F/0E and so on. Losing a nexus changes nothing else here.
    pub fn raise(&mut self, nexus: &NexusId, code: SenseCode) {
        self.attentions.raise(nexus, code);
    }

    /// Power loss and power on: without APTPL everything is forgotten; every
    /// known nexus gets 29/00.
    pub fn power_cycle(&mut self) {
        self.reservations.power_cycle();
        self.attentions.power_on();
    }

    /// Executes one command. Any bytes do: what makes no sense ends in CHECK
    /// CONDITION. Several reasons not to execute it are reported in this order:
    /// unit attentions of power on and reset, RESERVATION CONFLICT, other unit
    /// attentions, errors in the command. A key that is not the sender's is
    /// found in the last step, though it is a RESERVATION CONFLICT too.
    pub fn execute(&mut self, nexus: &NexusId, cdb: &[u8], data_out: &[u8]) -> Outcome {
        self.attach(nexus);
        match self.perform(nexus, cdb, data_out) {
            Ok(data) => Outcome::good(data),
            Err(refusal) => refusal.into(),
        }
    }

    fn perform(
        &mut self,
        nexus: &NexusId,
        cdb: &[u8],
        data_out: &[u8],
    ) -> Result<Vec<u8>, Refusal> {
        let opcode = *cdb.first().ok_or(SenseCode::INVALID_OPCODE)?;
        // These report no unit attention and leave it pending (SAM-5).
        let exempt = matches!(opcode, INQUIRY | REPORT_LUNS | REQUEST_SENSE);
        if !exempt && let Some(code) = self.attentions.take_reset(nexus) {
            return Err(code.into());
        }
        if self.conflicts(nexus, cdb) {
            return Err(Refusal::Conflict);
        }
        if !exempt && let Some(code) = self.attentions.take(nexus) {
            return Err(code.into());
        }
        if cdb.len() < cdb_length(opcode) {
            return Err(Refusal::Cdb(cdb.len() as u16, 7));
        }
        match opcode {
            TEST_UNIT_READY => Ok(Vec::new()),
            REQUEST_SENSE => Ok(inquiry::sense(cdb, self.attentions.take(nexus))),
            INQUIRY => inquiry::inquiry(&self.config, nexus, cdb),
            REPORT_LUNS => inquiry::report_luns(cdb),
            READ_CAPACITY_10 => Ok(block::capacity_10(self.config.blocks)),
            SERVICE_ACTION_IN_16 => block::capacity_16(self.config.blocks, cdb),
            block::READ_10 | block::READ_16 => block::read(self.config.blocks, cdb),
            block::WRITE_10 | block::WRITE_16 => block::write(self.config.blocks, cdb, data_out),
            PR_IN | PR_OUT => self.reservation_command(nexus, cdb, data_out),
            _ => Err(SenseCode::INVALID_OPCODE.into()),
        }
    }

    fn conflicts(&self, nexus: &NexusId, cdb: &[u8]) -> bool {
        let state = &self.reservations;
        match cdb {
            [PR_OUT, action, ..] => access::out_conflicts(state, nexus, action & 0x1f),
            cdb => access::conflicts(state, nexus, access::class(cdb)),
        }
    }

    fn reservation_command(
        &mut self,
        nexus: &NexusId,
        cdb: &[u8],
        data_out: &[u8],
    ) -> Result<Vec<u8>, Refusal> {
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(cdb).for_each(|(to, from)| *to = *from);
        if bytes[0] == PR_OUT && bytes[1] & 0x1f > OutAction::ReplaceLostReservation as u8 {
            return Err(Refusal::Cdb(1, 4));
        }
        let parsed = Cdb::try_from(bytes).map_err(|_| SenseCode::INVALID_OPCODE)?;
        let command = match parsed.command(data_out)? {
            Command::In(command) => {
                return Ok(pr_in::data(&self.reservations, &self.config, command));
            }
            Command::Out(command) => command,
        };
        let initiators: Vec<TransportId> = self
            .attentions
            .nexuses()
            .map(|nexus| nexus.transport_id.clone())
            .collect();
        let request = Request {
            sender: nexus,
            command: &command,
            config: &self.config,
            initiators: &initiators,
        };
        let (next, events) = pr_out::execute(&self.reservations, &request)?;
        self.reservations = next;
        for (nexus, code) in &events {
            self.attentions.raise(nexus, *code);
        }
        Ok(Vec::new())
    }
}

/// The length that the group code promises (SPC-4 4.2.5.1); 32-byte commands
/// are unknown here whatever their length.
fn cdb_length(opcode: u8) -> usize {
    match opcode >> 5 {
        0 => 6,
        1 | 2 => 10,
        4 => 16,
        5 => 12,
        _ => 1,
    }
}
