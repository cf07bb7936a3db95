/**
 * bayes-manifest — what a snapshot says of itself: manifest.json beside its files.
 *
 * Hides the JSON and its checks: a manifest may come from another machine, so nothing in it is believed before it has the
 * right form; the names of files can lead nowhere. Never throws: a manifest that is none is a reason in words.
 */
import { z } from 'zod';

/** The dump, compressed (gzip); other files may travel beside it. */
export const dumpName = 'bayes.gz';
export const manifestName = 'manifest.json';
export const manifestBytesMax = 64 * 1024;

const count = z.int().nonnegative();

const shape = z.object({
  format: z.literal(1),
  /** Grows with every snapshot of a node, whatever its clock does. */
  snapshotId: z.int().positive(),
  /** Epoch milliseconds. */
  takenAt: count,
  host: z.string().max(255),
  store: z.enum(['files', 'postgres', 'redis']),
  spamassassin: z.string().max(64),
  dbVersion: count,
  nspam: count,
  nham: count,
  tokens: count,
  seen: count,
  /** Of the content, see bayes-dump. */
  digest: z.string().regex(/^[0-9a-f]{32}$/),
  /** Uncompressed. */
  dumpBytes: count,
  /** In the order in which they travel. */
  files: z
    .array(
      z.object({
        name: z.string().regex(/^[a-z][a-z0-9-]{0,40}\.[a-z0-9]{1,8}$/),
        sizeBytes: count,
        sha256: z.string().regex(/^[0-9a-f]{64}$/),
      }),
    )
    .max(16),
});

export type Manifest = Readonly<z.infer<typeof shape>>;
export type BundleFile = Manifest['files'][number];

/** The manifest in a text, or in words why there is none. */
export function parseManifest(text: string): Manifest | { readonly problem: string } {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    return { problem: `it is no JSON: ${cause instanceof Error ? cause.message : String(cause)}` };
  }
  const { success, data, error } = shape.safeParse(value);
  if (!success) {
    const [first] = error.issues;
    return { problem: `${first?.path.join('.') ?? ''}: ${first?.message ?? 'wrong'}` };
  }
  const names = data.files.map(({ name }) => name);
  if (names[0] !== dumpName) return { problem: `its first file is not ${dumpName}` };
  if (new Set([...names, manifestName]).size !== names.length + 1)
    return { problem: 'two files have one name' };
  return data;
}

/** As it is written to disk and wire. */
export function formatManifest(manifest: Manifest): string {
  return `${JSON.stringify(manifest, null, 2)}\n`;
}

/** Octets of all its files. */
export function sizeBytesOf({ files }: Manifest): number {
  return files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}
