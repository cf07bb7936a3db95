/**
 * kill-at-step — loaded into `sluice` by `node --import`: it is killed as the step SLUICE_TEST_STEP of a Bayes run begins.
 *
 * The program itself knows nothing of this: one line of bayes-step.ts is changed as it is loaded.
 */
import { registerHooks } from 'node:module';

const { SLUICE_TEST_STEP } = process.env;
const line = 'under = name;';

registerHooks({
  load(url, context, next) {
    const loaded = next(url, context);
    if (!url.endsWith('/workers/bayes-step.ts')) return loaded;
    const source =
      typeof loaded.source === 'string'
        ? loaded.source
        : Buffer.from(loaded.source as ArrayBuffer).toString();
    if (!source.includes(line)) throw new Error(`Cannot change ${url}: it holds no "${line}"`);
    const kill = `if (name === '${SLUICE_TEST_STEP}') process.kill(process.pid, 'SIGKILL');`;
    return { ...loaded, source: source.replace(line, `${line} ${kill}`) };
  },
});
