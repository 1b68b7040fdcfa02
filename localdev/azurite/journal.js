// Azure's storage does not forget what it acknowledged. Azurite 3.35 keeps its tables in memory and writes them out every
// five seconds, an interval it offers no option for; killed, it forgets what came since. Preloaded with
// `node --require`, this writes every change of a table to a journal beside it before the request is answered, and
// repeats the journal when the tables are loaded. A journal is dropped once the tables that contain it are written.
//
// It survives the death of the process, not of the machine: nothing here is synced to disk.
"use strict";
const fs = require("fs");
const path = require("path");
const Loki = require("lokijs");

const journals = new WeakMap(); // by database; a property of it would be saved with it
const { autosaveEnable, addCollection, loadDatabase, saveDatabaseInternal } = Loki.prototype;

class Journal {
  constructor(db) {
    this.db = db;
    this.file = null;
    this.pending = [];
    this.replaying = false;
    this.number = Math.max(0, ...this.kept()) + 1;
  }

  kept() {
    const prefix = path.basename(this.db.filename) + ".journal.";
    const folder = path.dirname(this.db.filename);
    if (!fs.existsSync(folder)) return [];
    const found = fs.readdirSync(folder).filter((name) => name.startsWith(prefix));
    return found.map((name) => Number(name.slice(prefix.length))).sort((a, b) => a - b);
  }

  name(number) {
    return `${this.db.filename}.journal.${number}`;
  }

  // All that one step of the program changes is one write: a blob that is replaced is not gone in between.
  add(entry) {
    if (this.replaying) return;
    if (this.pending.length === 0) queueMicrotask(() => this.flush());
    this.pending.push(JSON.stringify(entry));
  }

  flush() {
    if (this.pending.length === 0) return;
    const lines = this.pending.join("\n") + "\n";
    this.pending = [];
    if (this.file === null) this.file = fs.openSync(this.name(this.number), "a");
    fs.writeSync(this.file, lines);
  }

  // What follows belongs to the next journal; returns the number of the last one that is complete.
  rotate() {
    this.flush();
    if (this.file !== null) fs.closeSync(this.file);
    this.file = null;
    return this.number++;
  }

  drop(last) {
    for (const number of this.kept()) if (number <= last) fs.unlinkSync(this.name(number));
  }

  // Entries may be in the tables already: each says how its document is afterwards, so to repeat it does no harm.
  replay() {
    this.replaying = true;
    for (const number of this.kept()) {
      const lines = fs.readFileSync(this.name(number), "utf8").split("\n");
      for (const line of lines.slice(0, -1)) this.apply(JSON.parse(line)); // the last is empty, or was cut off
    }
    this.replaying = false;
  }

  apply({ table, options, doc, gone }) {
    const collection = this.db.getCollection(table) || this.db.addCollection(table, options);
    const number = gone || (doc && doc.$loki);
    if (number === undefined) return;
    const present = collection.get(number);
    if (present) collection.remove(present);
    if (!doc) return;
    const { $loki, meta, ...content } = doc;
    const highest = collection.maxId;
    collection.maxId = $loki - 1; // insert takes the next
    collection.insert(content);
    collection.maxId = Math.max(highest, $loki);
  }
}

// Called for tables that are kept in a file, before anything is in them.
Loki.prototype.autosaveEnable = function (...args) {
  if (!journals.has(this)) journals.set(this, new Journal(this));
  // Without a file Azurite would not load; then there would be no moment to repeat the journal.
  if (journals.get(this).kept().length > 0 && !fs.existsSync(this.filename)) {
    fs.writeFileSync(this.filename, this.serialize());
  }
  return autosaveEnable.apply(this, args);
};

Loki.prototype.addCollection = function (name, options) {
  const known = this.getCollection(name) !== null;
  const collection = addCollection.call(this, name, options);
  const journal = journals.get(this);
  if (!journal || known) return collection;
  const { unique, indices } = options || {};
  journal.add({ table: name, options: { unique, indices } });
  const changed = (docs) => [docs].flat().forEach((doc) => journal.add({ table: name, doc }));
  collection.on("insert", changed);
  collection.on("update", changed);
  collection.on("delete", (doc) => journal.add({ table: name, gone: doc.$loki }));
  return collection;
};

Loki.prototype.loadDatabase = function (options, callback) {
  const journal = journals.get(this);
  if (!journal) return loadDatabase.call(this, options, callback);
  journal.replaying = true; // what is read is not new
  return loadDatabase.call(this, options, (error) => {
    if (!error) journal.replay();
    journal.replaying = false;
    if (callback) callback(error);
  });
};

Loki.prototype.saveDatabaseInternal = function (callback) {
  const journal = journals.get(this);
  if (!journal) return saveDatabaseInternal.call(this, callback);
  const last = journal.rotate();
  return saveDatabaseInternal.call(this, (error) => {
    if (!error) journal.drop(last);
    if (callback) callback(error);
    else if (error) throw error;
  });
};
