/**
 * quarantine-search — how held items stand in the full-text index of quarantine.db.
 *
 * Hides tables and triggers. `item.number` grows with the time an item was held and is the row number of the index;
 * item_text keeps what the index was told (FTS5 must be told the same again to forget it), and the states of an item's
 * copies beside it: a trigger writes them anew with each change, in the same commit.
 */
import { recipientStates } from './quarantine-record.ts';
import { markText, type Searched, searchText } from './search.ts';
import type { Step, Store } from './store.ts';

const stateMarks = `CASE state ${recipientStates.map((state) => `WHEN '${state}' THEN '${markText(state)}'`).join(' ')} END`;
const statesOf = (quarantineId: string) =>
  `(SELECT ifnull(group_concat(DISTINCT ${stateMarks}), '') FROM item_recipient WHERE quarantine_id = ${quarantineId})`;

/** Of a held_at in milliseconds the first number; 2^20 items may share one. */
const numberOf = (heldAt: string) => `(CAST(${heldAt} AS INTEGER) << 20)`;

const stateTrigger = `
  CREATE TRIGGER item_state_changed AFTER UPDATE OF state ON item_recipient WHEN old.state <> new.state BEGIN
    UPDATE item_text SET states = ${statesOf('new.quarantine_id')}
     WHERE number = (SELECT number FROM item WHERE quarantine_id = new.quarantine_id);
  END;`;

/** The trigger knows the states that there were when it was made. */
export const moreStatesMigration = `DROP TRIGGER item_state_changed;${stateTrigger}`;

export const searchMigration = `
  ALTER TABLE item ADD COLUMN number INTEGER;
  UPDATE item SET number = counted.number FROM (
    SELECT quarantine_id AS id, ${numberOf('held_at')} + row_number() OVER (PARTITION BY held_at) - 1 AS number FROM item
  ) AS counted WHERE counted.id = item.quarantine_id;
  CREATE UNIQUE INDEX item_number ON item (number);
  CREATE INDEX item_queue_id ON item (queue_id);
  CREATE INDEX item_message_id ON item (message_id);
  CREATE TABLE item_text (number INTEGER PRIMARY KEY, text TEXT NOT NULL, states TEXT NOT NULL);
  CREATE VIRTUAL TABLE item_search USING fts5(text, states, content='item_text', content_rowid='number',
                                              tokenize='trigram', columnsize=0);
  CREATE VIRTUAL TABLE item_trigram USING fts5vocab(item_search, row);
  CREATE TRIGGER item_text_added AFTER INSERT ON item_text BEGIN
    INSERT INTO item_search (rowid, text, states) VALUES (new.number, new.text, new.states);
  END;
  CREATE TRIGGER item_text_removed AFTER DELETE ON item_text BEGIN
    INSERT INTO item_search (item_search, rowid, text, states) VALUES ('delete', old.number, old.text, old.states);
  END;
  CREATE TRIGGER item_text_changed AFTER UPDATE ON item_text BEGIN
    INSERT INTO item_search (item_search, rowid, text, states) VALUES ('delete', old.number, old.text, old.states);
    INSERT INTO item_search (rowid, text, states) VALUES (new.number, new.text, new.states);
  END;${stateTrigger}
  CREATE TRIGGER item_removed AFTER DELETE ON item BEGIN
    DELETE FROM item_text WHERE number = old.number;
  END;`;

/** Ids of queue and quarantine. */
const ownIds = `SELECT ? UNION SELECT quarantine_id FROM item WHERE queue_id = ?
    UNION SELECT quarantine_id FROM item_recipient WHERE queue_id_out = ?`;

/** What search.ts must know of these tables. */
export const searchedItems: Searched = {
  index: 'item_search',
  trigrams: 'item_trigram',
  table: 'item',
  row: 'item.number',
  key: 'item.quarantine_id',
  score: 'item.score',
  hasId: `item.quarantine_id IN (
    ${ownIds} UNION SELECT quarantine_id FROM item WHERE message_id IN (?, '<' || ? || '>'))`,
  hasOwnId: `item.quarantine_id IN (${ownIds})`,
  // All that is here was to be held.
  wasDecided: (_row, disposition) => (disposition === 'quarantine' ? '1' : '0'),
  since: (row) => `${row} >= ${numberOf('?')}`,
  earlier: (row) => `${row} < ${numberOf('?')}`,
  below: (row) => `${row} < (SELECT number FROM item WHERE quarantine_id = ?)`,
  texts: (field) => {
    const texts = {
      subject: [`ifnull(item.subject, '')`],
      from: ['item.sender', `ifnull(item.header_from, '')`],
      to: [
        '(SELECT group_concat(recipient) FROM item_recipient AS r WHERE r.quarantine_id = item.quarantine_id)',
      ],
      virus: [`ifnull(item.virus_name, '')`],
    };
    return field === null ? Object.values(texts).flat() : texts[field];
  },
  hasOtherRecipient: null,
};

/** The next free number for an item held at `?` (three times). */
export const nextNumber = `coalesce(
  (SELECT max(number) + 1 FROM item WHERE number >= ${numberOf('?')} AND number < ${numberOf('(? + 1)')}), ${numberOf('?')})`;

/** Puts an item into the index, behind its rows; one that is there stays. */
export function textStep(quarantineId: string, text: string): Step {
  return {
    sql: `INSERT INTO item_text (number, text, states) SELECT number, ?, ${statesOf('item.quarantine_id')} FROM item
           WHERE quarantine_id = ? ON CONFLICT DO NOTHING`,
    params: [text, quarantineId],
  };
}

/** What can be found of an item, as its row has it. */
export type ItemFacts = {
  readonly quarantineId: string;
  readonly sender: string;
  readonly from: string | null;
  readonly subject: string | null;
  readonly virusName: string | null;
  readonly score: number | null;
  readonly recipients: readonly string[];
  readonly verdicts: readonly string[];
};

/** Puts items into the index, behind their rows; one that is there stays. */
export function textSteps(items: readonly ItemFacts[]): Step[] {
  return items.map(({ quarantineId, sender, from, subject, virusName, score, recipients, verdicts }) => ({
    sql: `INSERT INTO item_text (number, text, states) SELECT number, ?, ${statesOf('item.quarantine_id')} FROM item
           WHERE quarantine_id = ? ON CONFLICT DO NOTHING`,
    params: [
      searchText({ subject, from: [sender, from], to: recipients, virusName, marks: verdicts, score }),
      quarantineId,
    ],
  }));
}

/** Some items that are not in the index yet: their rows are from before there was one. */
export async function unsearched(store: Store, limit: number): Promise<ItemFacts[]> {
  const rows = await store.all<
    Omit<ItemFacts, 'recipients' | 'verdicts'> & { recipients: string; verdicts: string }
  >(
    `SELECT quarantine_id AS quarantineId, sender, header_from AS "from", subject, virus_name AS virusName, score,
            (SELECT json_group_array(recipient) FROM item_recipient AS r WHERE r.quarantine_id = item.quarantine_id)
              AS recipients,
            (SELECT json_group_array(verdict) FROM item_recipient AS r WHERE r.quarantine_id = item.quarantine_id)
              AS verdicts
       FROM item WHERE number NOT IN (SELECT number FROM item_text) LIMIT ?`,
    [limit],
  );
  return rows.map((row) => ({
    ...row,
    recipients: JSON.parse(row.recipients) as string[],
    verdicts: JSON.parse(row.verdicts) as string[],
  }));
}
