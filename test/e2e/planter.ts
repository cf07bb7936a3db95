/**
 * planter — plants mistakes in a machine that docs/install.md has made, asks `sluice check`, and puts everything back.
 *
 * The real command, the real daemons, the files of /etc. Limits are lowered for the run, so that clamd is not sent 100 MB
 * each time.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { eicar } from '../../demo/clamd.ts';
import type { Finding } from '../../rules/finding.ts';
import type { Machine } from './machine.ts';
import type { BadFile, Mistake } from './mistakes.ts';
import { untilUp } from './newcomer-site.ts';
import { dailySignatures } from './signatures.ts';

export type Planter = {
  /** Plants all, and asserts that each is found and nothing else is complained about. */
  assertFound(mistakes: readonly Mistake[]): Promise<void>;
  /** Writes a file that can't be read, and asserts exit 78 and what is said of it. */
  assertRefused(bad: BadFile): Promise<void>;
};

const changed = '/etc/postfix /etc/sluice /etc/clamav /etc/spamassassin /etc/default/spamd /var/lib/clamav';
const check = 'SLUICE_LIMITS_MESSAGEBYTES=16MB sluice check --json';

type Trouble = Finding & { readonly group: string };

/** Keeps a copy of the good site. */
export async function createPlanter(machine: Machine): Promise<Planter> {
  writeFileSync(machine.path('/root/old.cud'), dailySignatures(9));
  const hex = Buffer.from(eicar(), 'latin1').toString('hex');
  writeFileSync(machine.path('/root/local.ndb'), `Eicar-Test-Signature:0:*:${hex}\n`);
  await machine.must(`tar -cpf /root/good.tar ${changed}`);
  return {
    async assertFound(mistakes) {
      for (const { plant } of mistakes) await machine.must(plant);
      await restart(machine, mistakes);
      try {
        const { code, troubles } = await ask(machine, mistakes.some(isOfSpam));
        assert.equal(code, troubles.some(({ level }) => level === 'fail') ? 1 : 0);
        assertExplained(troubles, mistakes);
      } finally {
        await restore(machine, mistakes);
      }
    },
    async assertRefused({ file, text, said }) {
      writeFileSync(machine.path(`/etc/sluice/${file}`), text);
      try {
        const { code, stderr } = await machine.run(check);
        assert.equal(code, 78);
        assert.match(stderr, said);
      } finally {
        await restore(machine, []);
      }
    },
  };
}

function isOfSpam({ found }: Mistake): boolean {
  return found.some(([group]) => group === 'SpamAssassin');
}

/** SpamAssassin is left out where no mistake is its own: sa-learn takes two seconds. */
async function ask(
  machine: Machine,
  withSpam: boolean,
): Promise<{ code: number | null; troubles: Trouble[] }> {
  const script = withSpam ? check : `SLUICE_SCAN_SPAM=false ${check}`;
  const { code, stdout, stderr } = await machine.run(script);
  assert.equal(stderr, '');
  const { groups } = JSON.parse(stdout) as { groups: { name: string; findings: Finding[] }[] };
  const troubles = groups.flatMap(({ name, findings }) =>
    findings
      .filter(({ level, what }) => level !== 'ok' && (withSpam || !what.startsWith('scan.spam is false')))
      .map((finding) => ({ ...finding, group: name })),
  );
  return { code, troubles };
}

/** One trouble for every expected finding, and none that is left over. */
function assertExplained(troubles: readonly Trouble[], mistakes: readonly Mistake[]): void {
  const left = [...troubles];
  for (const { name, found } of mistakes) {
    for (const [group, level, what, remedy] of found) {
      const at = left.findIndex(
        (one) =>
          one.group === group &&
          one.level === level &&
          what.test(one.what) &&
          one.remedy !== null &&
          remedy.test(one.remedy),
      );
      assert.notEqual(at, -1, `"${name}": ${String(what)} is not in ${JSON.stringify(troubles, null, 1)}`);
      left.splice(at, 1);
    }
  }
  assert.deepEqual(left, [], 'nothing else is wrong');
}

async function restore(machine: Machine, mistakes: readonly Mistake[]): Promise<void> {
  await machine.must('cd /; rm -rf /etc/spamassassin /var/lib/clamav; tar -xpf /root/good.tar');
  for (const { mend } of mistakes) {
    if (mend === undefined) continue;
    await machine.must(mend);
    await untilUp(machine, mend);
  }
  await restart(machine, mistakes);
}

async function restart(machine: Machine, mistakes: readonly Mistake[]): Promise<void> {
  for (const unit of new Set(mistakes.flatMap((mistake) => mistake.restart ?? []))) {
    // Postfix waits seconds for a file that changed just now, lest it read half of one.
    const aged = unit === 'postfix' ? "touch -d '1 minute ago' /etc/postfix/*.cf\n" : '';
    const script = `${aged}systemctl restart ${unit}`;
    await machine.must(script);
    await untilUp(machine, script);
  }
}
