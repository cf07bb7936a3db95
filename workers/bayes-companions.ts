/**
 * bayes-companions — what travels with a snapshot: the site's policies, and the source of Postfix's map of relay recipients.
 *
 * Hides how they are read on the primary and put in place on the backup: checked and written beside the files that they replace
 * before the database is switched, exchanged by rename after it. A run that is killed in between is finished by the next
 * one. Rejects with BayesFail.
 */
import { createHash } from 'node:crypto';
import { createReadStream, existsSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Config } from '../rules/config.ts';
import { readRecipientsTable } from '../rules/recipients-table.ts';
import type { Bayes } from './bayes.ts';
import type { Companion, Exported } from './bayes-export.ts';
import { type Draft, draftFor, drop, endingsOf, install, type NewFile } from './bayes-install.ts';
import type { Snapshot } from './bayes-snapshots.ts';
import {
  BayesFail,
  type BayesTrouble,
  failed,
  isTrouble,
  messageOf,
  type OnStep,
  outcomeOf,
  refused,
} from './bayes-step.ts';
import { postmap } from './postmap.ts';
import { policyProblems } from './site.ts';

/** What was checked and lies ready. */
export type Staged = {
  /** Exchanges the files; resolves with those that were. */
  install(): Promise<readonly string[]>;
  /** Leaves the old ones. */
  drop(): Promise<void>;
  readonly warnings: readonly string[];
};

/** Checks what travels with a snapshot, and writes it beside the files that it is to replace. */
export type Stage = (snapshot: Snapshot) => Promise<Staged>;

const policiesName = 'policies.yaml';
const recipientsName = 'recipients.map';

/** What this site has to send along; rejects where a file that sluice.yaml names is not there. */
export function companionsOf({ policies, policiesNamed, bayes }: Config): Companion[] {
  const companion = (name: string, file: string): Companion => {
    const problem = problemOf(file, bayes.sizeMax);
    if (problem !== null)
      throw failed(
        'companions',
        `Cannot send ${file}: ${problem}`,
        'create it, or correct its name in sluice.yaml',
      );
    return { name, read: () => createReadStream(file) as AsyncIterable<Buffer> };
  };
  const hasPolicies = policies !== null && (policiesNamed || existsSync(policies));
  return [
    ...(hasPolicies ? [companion(policiesName, policies)] : []),
    ...(bayes.recipients === null ? [] : [companion(recipientsName, bayes.recipients)]),
  ];
}

/** The folder of policies may belong to another user: what never ends must not fill root's disk. */
function problemOf(file: string, sizeBytesMax: number): string | null {
  const found = statSync(file, { throwIfNoEntry: false });
  if (found === undefined) return 'it is not there';
  if (!found.isFile()) return 'it is no plain file';
  return found.size > sizeBytesMax ? `it has ${found.size} octets, bayes.sizeMax is ${sizeBytesMax}` : null;
}

/** An export with what travels along; that a companion is missing is its trouble. */
export async function exportWith(
  companions: () => readonly Companion[],
  { bayes, force, after = 0, onStep }: { bayes: Bayes; force: boolean; after?: number; onStep: OnStep },
): Promise<Exported | BayesTrouble> {
  const found = await outcomeOf(onStep, async (step) => {
    step('companions');
    return companions();
  });
  return isTrouble(found) ? found : bayes.export({ force, after, companions: found });
}

/** Whether a snapshot has these very files along. */
export async function carries(snapshot: Snapshot, companions: readonly Companion[]): Promise<boolean> {
  const { files } = snapshot.manifest;
  if (files.length !== companions.length + 1) return false;
  for (const companion of companions) {
    const digest = createHash('sha256');
    for await (const chunk of companion.read()) digest.update(chunk);
    if (files.find(({ name }) => name === companion.name)?.sha256 !== digest.digest('hex')) return false;
  }
  return true;
}

type Piece = { readonly draft: Draft; readonly also: readonly string[] };

/** For a backup with this configuration. */
export function stageCompanions(config: Config): Stage {
  return async (snapshot) => {
    const pieces: Piece[] = [];
    const warnings: string[] = [];
    const dropAll = async () => {
      for (const { draft } of pieces) await drop(draft);
    };
    try {
      for (const { name } of snapshot.manifest.files) {
        const bytes = () => readFile(join(snapshot.folder, name));
        if (name === policiesName) await stagePolicies(config, await bytes(), pieces, warnings);
        else if (name === recipientsName) await stageRecipients(config, await bytes(), pieces, warnings);
      }
    } catch (cause) {
      await dropAll();
      throw cause;
    }
    return { install: () => installAll(pieces), drop: dropAll, warnings };
  };
}

async function stagePolicies(
  config: Config,
  bytes: Buffer,
  pieces: Piece[],
  warnings: string[],
): Promise<void> {
  const { policies, state } = config;
  if (policies === null) {
    warnings.push('policies came along and were left: policies is null here');
    return;
  }
  const [problem] = policyProblems(config, bytes.toString('utf8'));
  if (problem !== undefined)
    throw refused(
      'companions',
      `Cannot take the policies: ${problem}`,
      'correct policies.yaml on the primary: sluice policy check',
    );
  pieces.push({ draft: await draftFor(policies, bytes, { gid: groupOf(state), mode: 0o640 }), also: [] });
}

async function stageRecipients(
  config: Config,
  bytes: Buffer,
  pieces: Piece[],
  warnings: string[],
): Promise<void> {
  const { recipients } = config.bayes;
  if (recipients === null) {
    warnings.push('a map of recipients came along and was left: bayes.recipients is null here');
    return;
  }
  const table = readRecipientsTable(bytes.toString('utf8'));
  if ('problem' in table)
    throw refused(
      'companions',
      `Cannot take the map of recipients: ${table.problem}`,
      'correct the file of bayes.recipients on the primary',
    );
  // postmap works as its owner, and writes into the folder: a new one belongs to whom the folder does.
  const newFile: NewFile = { gid: null, mode: 0o644 };
  const draft = await draftFor(recipients, bytes, newFile);
  const piece = { draft, also: [] as string[] };
  pieces.push(piece);
  const made = await postmap(draft.path);
  if (made === 'unavailable')
    warnings.push(`${recipients} was written, but no table made: there is no postmap here`);
  else if (made !== null)
    throw refused(
      'companions',
      `Cannot make the map of recipients: ${made.problem}`,
      `see why: postmap ${recipients}`,
    );
  piece.also.push(...(await endingsOf(draft)));
}

async function installAll(pieces: readonly Piece[]): Promise<string[]> {
  const installed: string[] = [];
  try {
    for (const { draft, also } of pieces) {
      // A file that says the same keeps its time: nobody has to read it again.
      if (draft.isSame && also.length === 0) await drop(draft);
      else await install(draft, also);
      installed.push(draft.target);
    }
    return installed;
  } catch (cause) {
    if (cause instanceof BayesFail) throw cause;
    const message = `Cannot install what travelled with the snapshot, which is in place: ${messageOf(cause)}`;
    const remedy = 'the database is new, files are old: run it again, it takes up where this one ended';
    throw failed('install', message, remedy, cause);
  }
}

/** As whom the mail side reads its files. */
function groupOf(folder: string): number | null {
  return statSync(folder, { throwIfNoEntry: false })?.gid ?? null;
}
