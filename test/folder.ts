/**
 * folder — a folder of a test's own.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

/**
 * A new folder, removed when the test ends. Hooks run in the order they were set, so what the test opens in it
 * afterwards is still open then, and may make a file meanwhile: hence the retries. A hook that throws keeps all behind
 * it from running.
 */
export function temporaryFolder(context: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-test-'));
  context.after(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 }));
  return folder;
}
