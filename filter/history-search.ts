/**
 * history-search — how messages of the history stand in the full-text index of history.db.
 *
 * Hides tables and triggers. The index keeps no text of its own (contentless: a million messages take 330 MB, not twice
 * that); what has an index entry loses it with its row. Rows of before there was an index are added by `fillSearch`.
 */
import type { OutcomeRow, ScanRow } from './history.ts';
import { type Searched, searchText } from './search.ts';
import type { Step, Store } from './store.ts';

/** Outcomes, in the order in which they are told to whoever asks for another. */
export const outcomes = [
  'delivered',
  'held',
  'discarded',
  'refused',
  'deferred',
  'moved',
] as const satisfies readonly OutcomeRow['outcome'][];

export const searchMigration = `
  CREATE INDEX scan_message_id ON scan (message_id);
  CREATE VIRTUAL TABLE scan_search USING fts5(text, content='', contentless_delete=1, tokenize='trigram');
  CREATE VIRTUAL TABLE scan_trigram USING fts5vocab(scan_search, row);
  CREATE TRIGGER scan_removed AFTER DELETE ON scan BEGIN
    DELETE FROM scan_search WHERE rowid = old.scan_id;
  END;
  CREATE TABLE unsearched (below INTEGER NOT NULL);  -- one row: messages below this scan_id are not in the index yet
  INSERT INTO unsearched SELECT ifnull(max(scan_id) + 1, 0) FROM scan;`;

/** Few messages are not simply delivered, and in `mode: observe` nothing else tells them apart. */
export const dispositionMigration = `
  CREATE INDEX outcome_disposition ON outcome (disposition, scan_id) WHERE disposition <> 'deliver';`;

/** Rows are written in the order in which messages end: so many may overtake one that came earlier. */
const overtakingMax = 1000;

/** More recipients than this are not looked through. */
const recipientsMax = 20_000;

/** Ids of queue and quarantine. */
const ownIds = `SELECT scan_id FROM scan WHERE queue_id = ?
    UNION SELECT scan_id FROM outcome WHERE queue_id_out = ?
    UNION SELECT scan_id FROM outcome WHERE quarantine_id = ?`;

/** What search.ts must know of these tables. */
export const searchedScans: Searched = {
  index: 'scan_search',
  trigrams: 'scan_trigram',
  table: 'scan',
  row: 'scan.scan_id',
  key: 'scan.scan_id',
  score: 'scan.score',
  hasId: `scan.scan_id IN (
    ${ownIds} UNION SELECT scan_id FROM scan WHERE message_id IN (?, '<' || ? || '>'))`,
  hasOwnId: `scan.scan_id IN (${ownIds})`,
  // Literals: SQLite takes an index of some rows only where it sees that the others are not asked for.
  wasDecided: (row, disposition) =>
    disposition === 'deliver'
      ? `EXISTS (SELECT 1 FROM outcome AS o WHERE o.scan_id = ${row} AND o.disposition = 'deliver')`
      : `${row} IN (SELECT scan_id FROM outcome WHERE disposition = '${disposition}' AND disposition <> 'deliver')`,
  // The second halves only keep the index from reading what can't be meant.
  since: (row) => `scan.at >= ? AND ${row} >= (SELECT min(scan_id) FROM (
    SELECT scan_id FROM scan WHERE at >= ? ORDER BY at LIMIT ${overtakingMax}))`,
  earlier: (row) => `scan.at < ? AND ${row} <= (SELECT max(scan_id) FROM (
    SELECT scan_id FROM scan WHERE at < ? ORDER BY at DESC LIMIT ${overtakingMax}))`,
  below: (row) => `${row} < ?`,
  texts: (field) => {
    const texts = {
      subject: [`ifnull(scan.subject, '')`],
      from: ['scan.sender', `ifnull(scan.header_from, '')`],
      to: [`ifnull((SELECT group_concat(recipient) FROM outcome AS o WHERE o.scan_id = scan.scan_id), '')`],
      virus: [`ifnull(scan.virus_name, '')`],
    };
    return field === null ? Object.values(texts).flat() : texts[field];
  },
  // From one recipient to the next by the index, as long as they have the text.
  hasOtherRecipient: `
    WITH RECURSIVE walk(recipient, count) AS (
      SELECT min(recipient), 1 FROM outcome
      UNION ALL
      SELECT (SELECT min(recipient) FROM outcome WHERE recipient > walk.recipient), count + 1 FROM walk
       WHERE instr(lower(walk.recipient), ?) > 0 AND count < ${recipientsMax})
    SELECT 1 FROM walk WHERE instr(lower(recipient), ?) = 0 OR count = ${recipientsMax} LIMIT 1`,
};

/** What can be found of a message, as its row has it. */
type ScanFacts = Pick<ScanRow, 'sender' | 'from' | 'subject'> & {
  readonly virusName: string | null;
  readonly score: number | null;
};

/** Stands behind its scan row in one transaction: under its lock the highest scan_id is that row's. */
export function textStep(scan: ScanRow, all: readonly OutcomeRow[]): Step {
  const { virus, spam } = scan.report ?? { virus: null, spam: null };
  const virusName = virus?.kind === 'infected' ? virus.name : null;
  const score = spam?.kind === 'scored' ? spam.score : null;
  return {
    sql: 'INSERT INTO scan_search (rowid, text) VALUES ((SELECT max(scan_id) FROM scan), ?)',
    params: [textOf({ ...scan, virusName, score }, all)],
  };
}

function textOf(
  { sender, from, subject, virusName, score }: ScanFacts,
  all: readonly Pick<OutcomeRow, 'recipient' | 'verdict' | 'outcome'>[],
): string {
  return searchText({
    subject,
    virusName,
    score,
    from: [sender, from],
    to: all.map(({ recipient }) => recipient),
    marks: all.flatMap(({ verdict, outcome }) => (verdict === null ? [outcome] : [verdict, outcome])),
  });
}

const filledAtOnce = 200;

/** Puts some messages of before there was an index into it, newest first; gives how many. */
export async function fillSearch(store: Store): Promise<number> {
  const scans = await store.all<ScanFacts & { scanId: number; outcomes: string }>(
    `SELECT scan_id AS scanId, sender, header_from AS "from", subject, virus_name AS virusName, score,
            (SELECT json_group_array(json_object('recipient', recipient, 'verdict', verdict, 'outcome', outcome))
               FROM outcome WHERE outcome.scan_id = scan.scan_id) AS outcomes
       FROM scan WHERE scan_id < (SELECT below FROM unsearched) ORDER BY scan_id DESC LIMIT ${filledAtOnce}`,
  );
  const oldest = scans.at(-1);
  if (oldest === undefined) return 0;
  const steps = scans.map(({ scanId, outcomes: found, ...scan }) => ({
    sql: 'INSERT INTO scan_search (rowid, text) SELECT scan_id, ? FROM scan WHERE scan_id = ?',
    params: [textOf(scan, JSON.parse(found) as OutcomeRow[]), scanId],
  }));
  await store.transaction([...steps, { sql: 'UPDATE unsearched SET below = ?', params: [oldest.scanId] }]);
  return scans.length;
}
