//! A disk in memory that forgets, tears and reorders what was not synced, and a cipher that shows
//! a wrong key or place. For tests and the simulated cluster.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    io,
    ops::Range,
    rc::Rc,
    time::Duration,
};

use futures_util::{FutureExt, future::LocalBoxFuture};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{Cipher, Disk, File};

/// A write survives a power cut in pieces of this size.
const SECTOR: usize = 512;

/// What stays when a member's machine is gone and comes back. Clones are the same disk.
#[derive(Clone)]
pub struct SimulatedDisk(Rc<RefCell<Platters>>);

/// How a member ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// The process ends: what it wrote stays in the page cache, synced or not.
    Process,
    /// The machine loses power: of what was not synced, any part may be gone.
    Power,
}

/// What a disk is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Read from a file.
    Read,
    /// Write to a file.
    Write,
    /// Make a file or the directory durable.
    Sync,
}

/// What the disk does beside obeying.
#[derive(Debug, Clone, Default)]
pub struct Temper {
    /// How long a sync takes, drawn anew for each.
    pub sync_time: Range<Duration>,
    /// After how many more syncs one fails.
    pub syncs_until_failure: Option<u64>,
    /// What fails whenever it is asked for.
    pub broken: Option<Operation>,
    /// How many bytes fit on the disk.
    pub capacity: Option<u64>,
    /// After how many more changes nothing has an effect any more, as when power goes.
    pub changes_until_off: Option<u64>,
}

/// How often power cuts have done what to unsynced writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Damage {
    /// Writes of which nothing was left.
    pub lost: u64,
    /// Writes of which some sectors were left.
    pub torn: u64,
    /// Writes that were left, in part or whole, while an earlier one was lost or torn.
    pub reordered: u64,
    /// Changes of a name that were undone.
    pub names: u64,
}

struct Platters {
    /// Rises with every crash; handles of an earlier life are dead.
    life: u64,
    random: StdRng,
    temper: Temper,
    damage: Damage,
    changes: u64,
    files: BTreeMap<u64, Contents>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    unsynced_names: Vec<NameChange>,
}

#[derive(Default)]
struct Contents {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Write>,
    written: u64,
}

struct Write {
    number: u64,
    offset: usize,
    bytes: Vec<u8>,
}

enum NameChange {
    Link { name: String, file: u64 },
    Unlink { name: String },
    Move { from: String, to: String, file: u64 },
}

impl SimulatedDisk {
    /// Returns an empty disk whose faults are drawn from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Rc::new(RefCell::new(Platters {
            life: 0,
            random: StdRng::seed_from_u64(seed),
            temper: Temper::default(),
            damage: Damage::default(),
            changes: 0,
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
        })))
    }

    /// Returns the disk as one life of a member sees it, until the next crash.
    pub fn mount(&self) -> Mount {
        Mount { disk: self.0.clone(), life: self.0.borrow().life }
    }

    /// Changes how the disk behaves from now on.
    pub fn set_temper(&self, temper: Temper) {
        self.0.borrow_mut().temper = temper;
    }

    /// Ends the life of every mount, and does to unsynced data what such an end does.
    pub fn crash(&self, crash: Crash) {
        let mut platters = self.0.borrow_mut();
        platters.life += 1;
        if crash == Crash::Power {
            platters.lose_power();
        }
    }

    /// Returns what power cuts have done so far.
    pub fn damage(&self) -> Damage {
        self.0.borrow().damage
    }

    /// Returns how many times anything was written, synced, created, renamed or removed.
    pub fn changes(&self) -> u64 {
        self.0.borrow().changes
    }

    /// Returns the names on the disk, in order.
    pub fn names(&self) -> Vec<String> {
        self.0.borrow().names.keys().cloned().collect()
    }

    /// Returns the bytes of a file, empty when there is none.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        let platters = self.0.borrow();
        let file = platters.names.get(name).and_then(|file| platters.files.get(file));
        file.map_or_else(Vec::new, |file| file.bytes.clone())
    }

    /// Puts a file on the disk, durable at once.
    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        let platters = &mut *self.0.borrow_mut();
        let file = platters.next_file();
        let contents = Contents { durable: bytes.clone(), bytes, ..Contents::default() };
        platters.files.insert(file, contents);
        platters.names.insert(name.to_owned(), file);
        platters.durable_names.insert(name.to_owned(), file);
    }

    /// How many bytes its files have.
    pub fn used(&self) -> u64 {
        self.0.borrow().used()
    }

    /// Takes a file off the disk for good.
    pub fn take(&self, name: &str) {
        let platters = &mut *self.0.borrow_mut();
        platters.names.remove(name);
        platters.durable_names.remove(name);
    }
}

impl Platters {
    fn next_file(&self) -> u64 {
        self.files.last_key_value().map_or(0, |(file, _)| file + 1)
    }

    fn used(&self) -> u64 {
        self.names.values().map(|file| self.files[file].bytes.len() as u64).sum()
    }

    fn room_for(&self, bytes: u64) -> io::Result<()> {
        let full = self.temper.capacity.is_some_and(|capacity| self.used() + bytes > capacity);
        if full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn check(&self, operation: Operation) -> io::Result<()> {
        match self.temper.broken == Some(operation) {
            true => Err(io::Error::other("the simulated disk is broken")),
            false => Ok(()),
        }
    }

    fn sync_fails(&mut self) -> bool {
        if self.temper.broken == Some(Operation::Sync) {
            return true;
        }
        match &mut self.temper.syncs_until_failure {
            None => false,
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
        }
    }

    fn sync_file(&mut self, file: u64, number: u64) -> io::Result<()> {
        let fails = self.sync_fails();
        let contents = self.files.get_mut(&file).expect("files are never dropped");
        let later = contents.unsynced.iter().position(|write| write.number > number);
        let synced = contents.unsynced.drain(..later.unwrap_or(contents.unsynced.len()));
        if fails {
            // As Linux does it: the pages count as clean, and are on no disk.
            drop(synced);
            return Err(io::Error::other("the simulated disk failed"));
        }
        for write in synced {
            put(&mut contents.durable, write.offset, &write.bytes);
        }
        Ok(())
    }

    fn sync_names(&mut self) -> io::Result<()> {
        if self.sync_fails() {
            return Err(io::Error::other("the simulated disk failed"));
        }
        for change in std::mem::take(&mut self.unsynced_names) {
            change.apply(&mut self.durable_names);
        }
        Ok(())
    }

    fn lose_power(&mut self) {
        let style = Survival::draw(&mut self.random);
        for change in std::mem::take(&mut self.unsynced_names) {
            if style.keeps(&mut self.random) {
                change.apply(&mut self.durable_names);
            } else {
                self.damage.names += 1;
            }
        }
        self.names = self.durable_names.clone();
        for contents in self.files.values_mut() {
            contents.lose_power(style, &mut self.random, &mut self.damage);
        }
        let named: BTreeSet<_> = self.names.values().copied().collect();
        self.files.retain(|file, _| named.contains(file));
    }
}

impl Contents {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        put(&mut self.bytes, offset, bytes);
        self.written += 1;
        self.unsynced.push(Write { number: self.written, offset, bytes: bytes.to_vec() });
    }

    fn lose_power(&mut self, style: Survival, random: &mut StdRng, damage: &mut Damage) {
        let mut earlier_hurt = false;
        for write in self.unsynced.drain(..) {
            let whole = style != Survival::Sectors;
            let keeps_whole = style.keeps(random);
            let (mut kept, mut total) = (0, 0);
            // Sectors are those of the file, not of the write.
            let mut at = 0;
            while at < write.bytes.len() {
                let end = (at + SECTOR - (write.offset + at) % SECTOR).min(write.bytes.len());
                total += 1;
                if if whole { keeps_whole } else { style.keeps(random) } {
                    kept += 1;
                    put(&mut self.durable, write.offset + at, &write.bytes[at..end]);
                }
                at = end;
            }
            damage.lost += u64::from(kept == 0);
            damage.torn += u64::from(kept > 0 && kept < total);
            damage.reordered += u64::from(kept > 0 && earlier_hurt);
            earlier_hurt |= kept < total;
        }
        self.bytes = self.durable.clone();
    }
}

/// What a power cut leaves of unsynced writes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Survival {
    Nothing,
    Writes,
    Sectors,
}

impl Survival {
    fn draw(random: &mut StdRng) -> Self {
        match random.gen_range(0..4) {
            0 => Self::Nothing,
            1 => Self::Writes,
            _ => Self::Sectors,
        }
    }

    fn keeps(self, random: &mut StdRng) -> bool {
        self != Self::Nothing && random.gen_bool(0.5)
    }
}

impl NameChange {
    fn apply(self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Link { name, file } => drop(names.insert(name, file)),
            Self::Unlink { name } => drop(names.remove(&name)),
            Self::Move { from, to, file } => {
                names.remove(&from);
                names.insert(to, file);
            }
        }
    }
}

fn put(bytes: &mut Vec<u8>, offset: usize, new: &[u8]) {
    let end = offset + new.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(new);
}

/// A disk in one life of its member.
#[derive(Clone)]
pub struct Mount {
    disk: Rc<RefCell<Platters>>,
    life: u64,
}

impl Mount {
    fn alive<T>(&self, then: impl FnOnce(&mut Platters) -> io::Result<T>) -> io::Result<T> {
        let mut platters = self.disk.borrow_mut();
        if platters.life == self.life {
            then(&mut platters)
        } else {
            Err(io::Error::other("this life of the member is over"))
        }
    }

    /// As [`Mount::alive`], for what changes the disk.
    fn change<T>(&self, then: impl FnOnce(&mut Platters) -> io::Result<T>) -> io::Result<T> {
        self.alive(|platters| {
            match &mut platters.temper.changes_until_off {
                None => {}
                Some(0) => return Err(io::Error::other("the power is off")),
                Some(left) => *left -= 1,
            }
            platters.changes += 1;
            then(platters)
        })
    }

    /// Waits as long as a sync takes, then carries it out.
    fn sync(
        &self,
        then: impl FnOnce(&mut Platters) -> io::Result<()> + 'static,
    ) -> LocalBoxFuture<'static, io::Result<()>> {
        let mount = self.clone();
        async move {
            let time = mount.alive(|platters| {
                let Range { start, end } = platters.temper.sync_time;
                Ok(if start < end { platters.random.gen_range(start..end) } else { start })
            })?;
            if !time.is_zero() {
                tokio::time::sleep(time).await;
            }
            mount.change(then)
        }
        .boxed_local()
    }

    fn handle(&self, file: u64) -> Box<dyn File> {
        Box::new(Handle { mount: self.clone(), file })
    }
}

impl Disk for Mount {
    fn list(&self) -> io::Result<Vec<String>> {
        self.alive(|platters| Ok(platters.names.keys().cloned().collect()))
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Box<dyn File>> {
        self.change(|platters| {
            platters.room_for(bytes)?;
            let file = platters.next_file();
            let mut contents = Contents::default();
            contents.write(0, &vec![0; usize::try_from(bytes).expect("it fits in memory")]);
            platters.files.insert(file, contents);
            let name = name.to_owned();
            platters.names.insert(name.clone(), file);
            platters.unsynced_names.push(NameChange::Link { name, file });
            Ok(self.handle(file))
        })
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        self.alive(|platters| match platters.names.get(name) {
            Some(file) => Ok(self.handle(*file)),
            None => Err(io::ErrorKind::NotFound.into()),
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change(|platters| {
            let file = platters.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
            platters.names.insert(to.to_owned(), file);
            let (from, to) = (from.to_owned(), to.to_owned());
            platters.unsynced_names.push(NameChange::Move { from, to, file });
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change(|platters| {
            platters.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
            platters.unsynced_names.push(NameChange::Unlink { name: name.to_owned() });
            Ok(())
        })
    }

    fn sync_directory(&self) -> LocalBoxFuture<'static, io::Result<()>> {
        self.sync(Platters::sync_names)
    }
}

struct Handle {
    mount: Mount,
    file: u64,
}

impl Handle {
    fn contents<T>(&self, then: impl FnOnce(&mut Contents) -> io::Result<T>) -> io::Result<T> {
        self.mount.alive(|platters| {
            then(platters.files.get_mut(&self.file).expect("files are never dropped"))
        })
    }
}

impl File for Handle {
    fn len(&self) -> io::Result<u64> {
        self.contents(|contents| Ok(contents.bytes.len() as u64))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.mount.alive(|platters| platters.check(Operation::Read))?;
        self.contents(|contents| {
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            let bytes = start
                .checked_add(buffer.len())
                .and_then(|end| contents.bytes.get(start..end))
                .ok_or(io::ErrorKind::UnexpectedEof)?;
            buffer.copy_from_slice(bytes);
            Ok(())
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).expect("it fits in memory");
        self.mount.change(|platters| {
            platters.check(Operation::Write)?;
            let length = platters.files[&self.file].bytes.len();
            platters.room_for((offset + bytes.len()).saturating_sub(length) as u64)
        })?;
        self.contents(|contents| {
            contents.write(offset, bytes);
            Ok(())
        })
    }

    fn sync(&self) -> LocalBoxFuture<'static, io::Result<()>> {
        let number = self.contents(|contents| Ok(contents.written)).unwrap_or(0);
        let file = self.file;
        self.mount.sync(move |platters| platters.sync_file(file, number))
    }
}

/// A cipher that hides nothing, but opens only with its own key and for the right place.
#[derive(Debug, Clone, Copy)]
pub struct ToyCipher {
    /// The key.
    pub key: u64,
}

impl ToyCipher {
    fn tag(self, sequence: u64, plain: &[u8]) -> [u8; 4] {
        let seed = crc32c::crc32c(&(self.key ^ sequence.rotate_left(17)).to_le_bytes());
        crc32c::crc32c_append(seed, plain).to_le_bytes()
    }
}

impl Cipher for ToyCipher {
    fn seal(&self, sequence: u64, plain: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&self.tag(sequence, plain));
        out.extend(plain.iter().map(|byte| byte ^ 0xa5));
    }

    fn open(&self, sequence: u64, sealed: &[u8]) -> Option<Vec<u8>> {
        let (tag, rest) = sealed.split_first_chunk()?;
        let plain: Vec<_> = rest.iter().map(|byte| byte ^ 0xa5).collect();
        (self.tag(sequence, &plain) == *tag).then_some(plain)
    }
}
