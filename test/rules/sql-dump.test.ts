/**
 * sql-dump — rows out of dumps as MySQL, MariaDB, PostgreSQL and SQLite write them.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { readSqlDump } from '../../rules/sql-dump.ts';

const columns = { users: ['id', 'email', 'name'], other: ['a'] };

type Row = Record<string, string | null>;

function rowsOf(text: string): Row[] {
  const { rows, notes } = readSqlDump({ file: 'dump.sql', text }, columns);
  assert.deepEqual(notes, [], text);
  return (rows.get('users') ?? []).map(({ values }) => Object.fromEntries(values));
}

const postgres = '-- PostgreSQL database dump\n';

test('readSqlDump() reads the forms that dumps are written in', () => {
  const one = [{ id: '1', email: 'a@b.example' }];
  const table: [label: string, text: string, rows: Row[]][] = [
    [
      'no names: the usual order',
      "INSERT INTO users VALUES (1,'a@b.example','N');",
      [{ ...one[0], name: 'N' }],
    ],
    [
      'named columns',
      "INSERT INTO users (email, id) VALUES ('a@b.example',1);",
      [{ email: 'a@b.example', id: '1' }],
    ],
    ['backquotes', "INSERT INTO `users` (`id`,`email`) VALUES (1,'a@b.example');", one],
    [
      'schema and double quotes',
      'INSERT INTO "public"."users" ("id","email") VALUES (1,\'a@b.example\');',
      one,
    ],
    ['lower case, many lines', "insert into users(id,email)\n  values\n (1,'a@b.example')\n;", one],
    [
      'several rows',
      "INSERT INTO users VALUES (1,'x','y'),\n(2,'z',NULL);",
      [
        { id: '1', email: 'x', name: 'y' },
        { id: '2', email: 'z', name: null },
      ],
    ],
    ['IGNORE', "INSERT IGNORE INTO users VALUES (1,'a@b.example');", one],
    ['REPLACE', "REPLACE INTO users VALUES (1,'a@b.example');", one],
    ['OR REPLACE', "INSERT OR REPLACE INTO users VALUES (1,'a@b.example');", one],
    [
      'order from CREATE TABLE',
      "CREATE TABLE `users` (\n `email` varchar(255) DEFAULT 'x,y)',\n `id` int, -- id, first\n PRIMARY KEY (`id`)\n) ENGINE=InnoDB;\nINSERT INTO `users` VALUES ('a@b.example',1);",
      [{ email: 'a@b.example', id: '1' }],
    ],
    [
      'IF NOT EXISTS',
      "CREATE TABLE IF NOT EXISTS users (email text, id int);\nINSERT INTO users VALUES('a@b.example',1);",
      [{ email: 'a@b.example', id: '1' }],
    ],
    ['doubled quotes', "INSERT INTO users VALUES (1,'it''s','');", [{ id: '1', email: "it's", name: '' }]],
    [
      'MySQL escapes',
      String.raw`INSERT INTO users VALUES (1,'it\'s \\ a\nb','\"\%');`,
      [{ id: '1', email: "it's \\ a\nb", name: '"%' }],
    ],
    ['MySQL double-quoted strings', 'INSERT INTO users VALUES (1,"a@b.example");', one],
    ['_binary', "INSERT INTO users VALUES (1,_binary 'a@b.example');", one],
    ['hexadecimal', 'INSERT INTO users VALUES (1,0x6140622E6578616D706C65);', one],
    ["x'…'", "INSERT INTO users VALUES (1,x'6140622e6578616d706c65');", one],
    ['numbers', 'INSERT INTO users VALUES (-1.5,6.31,1e3);', [{ id: '-1.5', email: '6.31', name: '1e3' }]],
    [
      'true, false, DEFAULT',
      'INSERT INTO users VALUES (TRUE,false,DEFAULT);',
      [{ id: '1', email: '0', name: null }],
    ],
    [
      'conditional comments',
      "/*!40000 ALTER TABLE `users` DISABLE KEYS */;\nINSERT INTO users VALUES (1,'a@b.example');\n/*!40000 ALTER TABLE `users` ENABLE KEYS */;",
      one,
    ],
    [
      'comments around',
      "-- it's a comment; INSERT INTO users VALUES (9);\n# and ' this\nINSERT INTO users VALUES (1, -- one\n 'a@b.example');",
      one,
    ],
    ['comment before the first row', "-- users:\nINSERT INTO users VALUES (1,'a@b.example');", one],
    [
      'other tables are passed over',
      "INSERT INTO msgs VALUES ('INSERT INTO users VALUES (9);',';');\nINSERT INTO users VALUES (1,'a@b.example');",
      one,
    ],
    [
      'SQLite',
      "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nINSERT INTO users VALUES(1,'a@b.example','\\');\nCOMMIT;",
      [{ ...one[0], name: '\\' }],
    ],
    [
      'PostgreSQL backslash',
      `${postgres}INSERT INTO public.users VALUES (1, 'a\\', 'b');`,
      [{ id: '1', email: 'a\\', name: 'b' }],
    ],
    [
      'PostgreSQL E string',
      `${postgres}INSERT INTO users VALUES (1, E'a\\'b');`,
      [{ id: '1', email: "a'b" }],
    ],
    ['PostgreSQL bytea', `${postgres}INSERT INTO users VALUES (1, '\\x6140622e6578616d706c65');`, one],
    ['PostgreSQL bytea, old form', `${postgres}INSERT INTO users VALUES (1, 'a\\100b.example');`, one],
    [
      'casts',
      `${postgres}INSERT INTO users VALUES (1::integer, 'a@b.example'::character varying(255));`,
      one,
    ],
    [
      'dollar quotes',
      `${postgres}CREATE FUNCTION f() AS $body$ it's; INSERT INTO users VALUES (9); $body$;\nINSERT INTO users VALUES (1,'a@b.example');`,
      one,
    ],
    [
      "psql's own lines",
      `\\restrict abc'\n${postgres}\\connect x\nINSERT INTO users VALUES (1,'a@b.example');`,
      one,
    ],
    [
      'COPY',
      `${postgres}COPY public.users (id, email, name) FROM stdin;\n1\ta@b.example\t\\N\n2\tc\\\\d\\te\tO'Neill\n\\.\n\nSELECT 1;`,
      [
        { id: '1', email: 'a@b.example', name: null },
        { id: '2', email: 'c\\d\te', name: "O'Neill" },
      ],
    ],
    ['COPY of bytea', `COPY users (id, email) FROM stdin;\n1\t\\\\x6140622e6578616d706c65\n\\.\n`, one],
    [
      'COPY of other tables',
      `COPY msgs (a) FROM stdin;\nINSERT INTO users VALUES (9);\n\\.\nCOPY users (id) FROM stdin;\n1\n\\.\n`,
      [{ id: '1' }],
    ],
    ['COPY without an end', 'COPY users (id) FROM stdin;\n1\n2', [{ id: '1' }, { id: '2' }]],
    [
      'CR LF',
      'COPY users (id) FROM stdin;\r\n1\r\n\\.\r\nINSERT INTO users VALUES (2);\r\n',
      [{ id: '1' }, { id: '2' }],
    ],
  ];
  assert.ok(table.length >= 30);
  for (const [label, text, rows] of table) assert.deepEqual(rowsOf(text), rows, label);
});

test('readSqlDump() knows the line of each row', () => {
  const text =
    "-- x\n\nINSERT INTO users VALUES\n(1,'a\n\nb'),\n(2,'c');\nCOPY users (id) FROM stdin;\n3\n\\.\n";
  const { rows } = readSqlDump({ file: 'dump.sql', text }, columns);
  assert.deepEqual(
    rows.get('users')?.map(({ file, line, values }) => [file, line, values.get('id')]),
    [
      ['dump.sql', 4, '1'],
      ['dump.sql', 7, '2'],
      ['dump.sql', 9, '3'],
    ],
  );
});

test('readSqlDump() notes what it cannot read, and goes on behind it', () => {
  const table: [label: string, text: string, line: number, note: RegExp][] = [
    ['an expression', "INSERT INTO users VALUES (now(),'x');", 1, /a row of users that can't be read/],
    ['too many values', "\nINSERT INTO users VALUES (1,'x','y',4);", 2, /4 values for 3 columns/],
    ['a query', 'INSERT INTO users SELECT * FROM others;', 1, /without VALUES/],
  ];
  for (const [label, text, line, note] of table) {
    const { rows, notes } = readSqlDump(
      { file: 'dump.sql', text: `${text}\nINSERT INTO users VALUES (7);` },
      columns,
    );
    assert.equal(notes[0]?.line, line, label);
    assert.match(notes[0]?.text ?? '', note, label);
    assert.deepEqual(
      rows.get('users')?.map(({ values }) => values.get('id')),
      ['7'],
      label,
    );
  }
});

test('readSqlDump() gives back every text that MySQL or PostgreSQL quoted', () => {
  const text = fc.string({
    unit: fc.oneof(
      fc.constantFrom("'", '\\', '\n', '\t', '"', ';', ',', ')', '\0', '\r'),
      fc.string({ minLength: 1, maxLength: 1 }),
    ),
    maxLength: 12,
  });
  const mysql = (value: string) =>
    `'${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'").replaceAll('\n', '\\n').replaceAll('\0', '\\0')}'`;
  const standard = (value: string) => `'${value.replaceAll("'", "''")}'`;
  const copy = (value: string) =>
    value.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('\t', '\\t').replaceAll('\r', '\\r');
  fc.assert(
    fc.property(fc.array(text, { minLength: 1, maxLength: 5 }), (values) => {
      const clean = values.map((value) => value.replaceAll('\\', ''));
      assert.deepEqual(
        rowsOf(`INSERT INTO users VALUES ${values.map((value) => `(1,${mysql(value)})`).join(',')};`).map(
          ({ email }) => email,
        ),
        values,
      );
      assert.deepEqual(
        rowsOf(
          `${postgres}INSERT INTO users VALUES ${clean.map((value) => `(1,${standard(value)})`).join(',')};`,
        ).map(({ email }) => email),
        clean,
      );
      assert.deepEqual(
        rowsOf(
          `COPY users (id, email) FROM stdin;\n${clean.map((value) => `1\t${copy(value)}`).join('\n')}\n\\.\n`,
        ).map(({ email }) => email),
        clean,
      );
    }),
  );
});

test('readSqlDump() is linear and never throws, whatever the dump holds', () => {
  const texts: [string, string][] = [
    ['open quote', `INSERT INTO users VALUES (1,'${'a'.repeat(2_000_000)}`],
    ['quotes', "'".repeat(1_000_000)],
    ['brackets', `INSERT INTO users VALUES ${'('.repeat(500_000)}`],
    ['comments', 'INSERT INTO users VALUES (/*'.repeat(50_000)],
    ['dollars', '$a$'.repeat(200_001)],
    ['blanks', `${' '.repeat(1_000_000)}x`],
    ['statements', ';'.repeat(1_000_000)],
    ['create', 'CREATE TABLE users ('.repeat(30_000)],
    ['rows', `INSERT INTO users VALUES ${"(1,'a'),".repeat(100_000)}(2);`],
  ];
  for (const [label, text] of texts) {
    const began = performance.now();
    readSqlDump({ file: 'dump.sql', text }, columns);
    assert.ok(performance.now() - began < 10_000, `${label}: ${performance.now() - began} ms`);
  }
  const piece = fc.constantFrom(
    'INSERT INTO users ',
    'VALUES ',
    '(',
    ')',
    ',',
    "'",
    '"',
    '\\',
    ';',
    '\n',
    '--',
    '/*',
    '*/',
    '$$',
    'COPY users FROM stdin;',
    '\\.',
    '0x',
    'NULL',
    '1',
    'CREATE TABLE users ',
    '`',
    '#',
    '::',
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 40 }), (pieces) => {
      readSqlDump({ file: 'dump.sql', text: pieces.join('') }, columns);
    }),
    { numRuns: 2000 },
  );
});
