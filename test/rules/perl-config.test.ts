/**
 * perl-config — what is read out of a configuration in Perl, and what is only named.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { readPerl, type PerlConfig, type PerlValue } from '../../rules/perl-config.ts';
import { tokensOf } from '../../rules/perl-tokens.ts';

function read(...texts: string[]): PerlConfig {
  return readPerl(texts.map((text, at) => ({ file: `${at}.conf`, text })));
}

/** A value as plain data: texts as they are, undef as null, what only Perl knows as a marked text. */
function plain(value: PerlValue | undefined): unknown {
  if (value === undefined) return 'unset';
  switch (value.kind) {
    case 'text':
      return value.text;
    case 'undef':
      return null;
    case 'list':
      return value.items.map(plain);
    case 'hash':
      return Object.fromEntries(value.entries.map((entry) => [entry.key ?? '?', plain(entry.value)]));
    case 'regexp':
      return `/${value.pattern}/${value.flags}`;
    case 'reference':
      return `\\${value.name}`;
    case 'call':
      return { [value.name]: value.items.map(plain) };
    case 'unknown':
      return 'only Perl knows';
    default:
      return assert.fail();
  }
}

const unknown = 'only Perl knows';

test('readPerl() reads the forms that amavisd.conf is written in', () => {
  const table: [label: string, text: string, name: string, value: unknown][] = [
    ['number', '$x = 6.31;', '$x', '6.31'],
    ['negative number', '$x = -999;', '$x', '-999'],
    ['underscores', '$x = 1_000_000;', '$x', '1000000'],
    ['hexadecimal', '$x = 0x10;', '$x', '16'],
    ['exponent', '$x = 1.5e3;', '$x', '1500'],
    ['arithmetic', '$x = 200*1024;', '$x', '204800'],
    ['precedence', '$x = 2 + 3 * (4 - 1) ** 2;', '$x', '29'],
    ['concatenation', "$x = 'a' . 'b' . 1;", '$x', 'ab1'],
    ['single quotes', String.raw`$x = 'it\'s $y \n';`, '$x', String.raw`it's $y \n`],
    ['double quotes', String.raw`$x = "a\t\"b\" \@c \$d";`, '$x', 'a\t"b" @c $d'],
    ['interpolation', '$d = "example.com"; $x = ".$d and ${d}";', '$x', '.example.com and example.com'],
    ['q and qq', '$x = q(a(b)c) . qq{d};', '$x', 'a(b)cd'],
    ['undef', '$x = undef;', '$x', null],
    ['undef()', '$x = 1; undef $y; $x = undef();', '$x', null],
    ['constant', '$x = D_DISCARD;', '$x', 'D_DISCARD'],
    ['chain', '$x = $y = "z";', '$x', 'z'],
    ['chain into a hash', '$ENV{PATH} = $x = "/bin";', '%ENV', { PATH: '/bin' }],
    ['last one wins', '$x = 1; $x = 2;', '$x', '2'],
    ['set if unset', '$x ||= 3;', '$x', '3'],
    ['set stays', '$x = 1; $x ||= 3;', '$x', '1'],
    ['list', '@x = ( \'a\', "b", 3, );', '@x', ['a', 'b', '3']],
    ['list without parentheses', '@x = 1;', '@x', ['1']],
    ['empty list', '@x = ();', '@x', []],
    ['qw', '@x = qw( .a.example\n  !b.example );', '@x', ['.a.example', '!b.example']],
    ['nested parentheses flatten', '@x = (1, (2, 3), qw(4 5));', '@x', ['1', '2', '3', '4', '5']],
    ['array references do not', '@x = ([1, 2], 3);', '@x', [['1', '2'], '3']],
    ['arrays flatten', '@y = (1, 2); @x = (@y, 3);', '@x', ['1', '2', '3']],
    ['hash', "%x = ( 'a' => 1, b => 2, -3, 4 );", '%x', { a: '1', b: '2', '-3': '4' }],
    [
      'hash reference',
      "$x = { 'a@b.example' => 1.5, '.' => undef };",
      '$x',
      { 'a@b.example': '1.5', '.': null },
    ],
    ['hash of hashes', "%x = ('a' => [ { 'b' => 1 } ]);", '%x', { a: [{ b: '1' }] }],
    ['members', "$x{'a'} = 1; $x{b} = 2; $x{lc('C')} = 3;", '%x', { a: '1', b: '2', c: '3' }],
    [
      'quote words as keys',
      '%x = (s => 1, y => 2, q => 3, tr => 4); $x{m} = 5;',
      '%x',
      { s: '1', y: '2', q: '3', tr: '4', m: '5' },
    ],
    ['references', '@x = (\\%a, \\@b, \\$c);', '@x', ['\\%a', '\\@b', '\\$c']],
    [
      'regular expressions',
      "$x = new_RE( qr'^a@b'i, [ qr{c/d}x => 1 ] );",
      '$x',
      { new_RE: ['/^a@b/i', ['/c\\/d/x'.replace('\\', ''), '1']] },
    ],
    ['call', "$x = read_hash('/etc/list');", '$x', { read_hash: ['/etc/list'] }],
    ['lc and uc', "@x = (lc('AB'), uc 'c');", '@x', ['ab', 'C']],
    ['push', '@x = (1); push(@x, 2, 3); push @x, 4; unshift(@x, 0);', '@x', ['0', '1', '2', '3', '4']],
    ['map over words', '%x = map { lc($_) => 1 } qw(A B);', '%x', { a: '1', b: '1' }],
    ['map with parentheses', '%x = map(($_, 1), "a", "b");', '%x', { a: '1', b: '1' }],
    ['map as a loop', 'map { $x{lc($_)} = 2 } (qw(A\nB));', '%x', { a: '2', b: '2' }],
    ['for behind', '$x{$_} = 1 for qw(a b);', '%x', { a: '1', b: '1' }],
    [
      'foreach block',
      'foreach my $d (qw(a b)) { $x{"$d.example"} = 1; }',
      '%x',
      { 'a.example': '1', 'b.example': '1' },
    ],
    ['comments', '# $x = 1;\n$x = 2; # $x = 3;', '$x', '2'],
    ['# inside strings', "$x = 'a#b'; # c", '$x', 'a#b'],
    ['POD', '$x = 1;\n\n=pod\n\n$x = 2;\n\n=cut\n\n$y = 1;', '$x', '1'],
    ['__END__', '$x = 1;\n__END__\n$x = 2;', '$x', '1'],
    ['here document', "$x = <<'EOT';\n$y = 1;\nEOT\n$z = 2;", '$x', '$y = 1;\n'],
    ['statement after a here document', "$x = <<'EOT';\n$y = 1;\nEOT\n$z = 2;", '$z', '2'],
    ['here document is no statement', "$x = <<'EOT';\n$y = 1;\nEOT\n$z = 2;", '$y', 'unset'],
    ['no last semicolon', '$x = 1', '$x', '1'],
    ['CR LF', '$x = 1;\r\n$y = 2;\r\n', '$y', '2'],
    ['my and our', 'our $x = 1;', '$x', '1'],
    ['divided by a variable', '$y = 2; $x = $y / 2; # / ', '$x', '1'],
  ];
  assert.ok(table.length >= 50);
  for (const [label, text, name, value] of table) {
    const config = read(text);
    assert.deepEqual(plain(config.variables.get(name)), value, label);
    assert.deepEqual(config.unread, [], label);
  }
});

test('readPerl() marks what only Perl could tell, and names what it cannot read', () => {
  const values: [label: string, text: string, name: string][] = [
    ['command', '$x = `hostname`;', '$x'],
    ['chomp of a command', 'chomp($x = `head -n 1 /etc/mailname`);', '$x'],
    ['code', '$x = sub { my($a) = @_; return "}" };', '$x'],
    ['unknown variable', '$x = $y;', '$x'],
    ['unknown variable in a text', '$x = "a$y";', '$x'],
    ['choice', '$x = $y ? 1 : 2;', '$x'],
    ['or', '$x = 1 || 2;', '$x'],
    ['member', '$x = $y{a};', '$x'],
    ['chained member', '$x = $y->{a}->[1];', '$x'],
    ['division by nought', '$x = 1 / 0;', '$x'],
  ];
  for (const [label, text, name] of values)
    assert.equal(plain(read(text).variables.get(name)), unknown, label);

  const statements: [label: string, text: string, names: string[]][] = [
    ['condition', 'if (-e "/x") { $x = 1; }', ['$x']],
    ['condition behind', '$x = 1 if $y;', ['$x', '$y']],
    ['function', 'sub f { $x{a} = 1; }', ['%x']],
    ['loop that counts', 'for (my $i = 0; $i < 3; $i++) { $x = 1; }', ['$i', '$x']],
    ['dereferenced', '@{$x} = (1);', ['$x']],
    ['slice', '@x{qw(a b)} = (1, 2);', ['%x']],
    ['delete', 'delete $x{a};', ['%x']],
  ];
  for (const [label, text, names] of statements) {
    const { unread, variables } = read(`${text}\n$after = 1;`);
    assert.deepEqual(
      unread.map((one) => [one.line, one.names]),
      [[1, names]],
      label,
    );
    assert.equal(plain(variables.get('$after')), '1', label);
    assert.equal(variables.get('$x')?.kind, undefined, label);
  }
});

test('readPerl() keeps file and line of assignments, members and calls; later files win', () => {
  const config = read('$x = 1;\n\n%y = (\n  a => 1,\n  b => 2);\n', '\n$x = 2;\ndkim_key("d", "s");\n');
  const x = config.variables.get('$x');
  assert.deepEqual([plain(x), x?.file, x?.line], ['2', '1.conf', 2]);
  const y = config.variables.get('%y');
  assert.deepEqual(y?.kind === 'hash' && y.entries.map(({ key, line }) => [key, line]), [
    ['a', 4],
    ['b', 5],
  ]);
  assert.deepEqual(
    config.calls.map(({ name, file, line }) => [name, file, line]),
    [['dkim_key', '1.conf', 3]],
  );
});

test('readPerl() is bounded in time and memory, whatever the text holds', () => {
  const doubling = `@x = (1);\n${'@x = (@x, @x);\n'.repeat(100)}`;
  const growing = `$x = "aaaaaaaaaaaaaaaa";\n${'$x = "$x$x";\n'.repeat(100)}${'$x = $x . $x;\n'.repeat(100)}`;
  const nested = `$x = ${'['.repeat(50_000)};`;
  const loops = `${'for (1,2,3,4,5,6,7,8,9,10) {\n'.repeat(12)} $x = 1; ${'}'.repeat(12)}`;
  const texts: [string, string][] = [
    ['doubling lists', doubling],
    ['growing texts', growing],
    ['brackets', nested],
    ['brackets that fit nothing', '('.repeat(50_000) + ']'.repeat(50_000)],
    ['loops in loops', loops],
    ['maps in maps', `@x = ${'map { $_ } (1,2,3,4,5,6,7,8,9,'.repeat(30)}1${')'.repeat(30)};`],
    ['never-ending string', `$x = '${'a'.repeat(1_000_000)}`],
    ['here documents', '<<A;'.repeat(50_000)],
    ['read_hash(', 'read_hash('.repeat(50_000)],
    ['members', Array.from({ length: 50_000 }, (_, at) => `$x{'k${at}'} = 1;`).join('\n')],
  ];
  for (const [label, text] of texts) {
    const began = performance.now();
    read(text);
    assert.ok(performance.now() - began < 5000, `${label}: ${performance.now() - began} ms`);
  }
  assert.equal(read(doubling).complete, false);
});

test('readPerl() never throws, and goes forward over any text', () => {
  const piece = fc.constantFrom(
    '$x',
    '@y',
    '%z',
    ' = ',
    '(',
    ')',
    '{',
    '}',
    '[',
    ']',
    ';',
    ',',
    '=>',
    "'",
    '"',
    '\\',
    'qw',
    'qr',
    's',
    '/',
    '<<A',
    '\n',
    '#',
    '=pod',
    'map',
    'for',
    'if',
    'sub',
    'push',
    '1',
    '.',
    '-',
    '$',
    '@',
  );
  fc.assert(
    fc.property(fc.array(fc.oneof(piece, fc.string({ maxLength: 4 })), { maxLength: 60 }), (pieces) => {
      const text = pieces.join('');
      const lines = text.split('\n').length;
      for (const { line } of tokensOf(text)) assert.ok(line >= 1 && line <= lines);
      read(text);
    }),
    { numRuns: 3000 },
  );
});
