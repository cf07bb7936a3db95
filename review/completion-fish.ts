/**
 * completion-fish — the script for fish 3.1 and newer.
 */
import {
  completed,
  firstWords,
  idsOfJson,
  listWords,
  memberWords,
  valueOptions,
} from './completion-vocabulary.ts';
import { bareOptions, commonOptions, type OptionManual, type Takes } from './options.ts';

/** The script. */
export function fishScript(): string {
  return `# fish completion for sluice, made by "sluice completion fish".

function __sluice_given -d 'words before the cursor that are no options'
    set -l words
    set -l skip no
    for word in (commandline -opc)[2..-1]
        if test $skip = yes
            set skip no
            continue
        end
        switch $word
            case ${valueOptions.join(' ')}
                set skip yes
            case '-*'
            case '*'
                set -a words $word
        end
    end
    if test "$words[1]" = help
        set -e words[1]
    end
    string join \\n -- $words
end

function __sluice_just -d 'whether these words are there, and no others'
    set -l given (__sluice_given)
    test "$given" = "$argv"
end

function __sluice_in -d 'whether the line is of this command'
    set -l given (__sluice_given)
    test (count $given) -ge (count $argv); and test "$given[1..$(count $argv)]" = "$argv"
end

function __sluice_at -d 'whether so many words stand behind this command'
    set -l given (__sluice_given)
    __sluice_in $argv[2..-1]; and test (count $given) -eq (math $argv[1] + (count $argv[2..-1]))
end

function __sluice_from -d 'whether at least so many words stand behind this command'
    set -l given (__sluice_given)
    __sluice_in $argv[2..-1]; and test (count $given) -ge (math $argv[1] + (count $argv[2..-1]))
end

function __sluice_ids -d 'ids of held messages, as far as one may know them'
    set -l words (commandline -opc)
    set -l config (string match -- '--config=*' $words)
    if set -l at (contains -i -- --config $words); and test $at -lt (count $words)
        set config --config $words[(math $at + 1)]
    end
    timeout 2 $words[1] ${listWords} $config 2>/dev/null </dev/null |
        ${idsOfJson}
end

complete -c sluice -f
${[...lonelyLines(), ...completed.flatMap(commandLines)].join('\n')}
`;
}

function lonelyLines(): string[] {
  return [
    ...firstWords.map(
      ([word, about]) => `complete -c sluice -n __sluice_just -a ${word} -d ${quoted(about)}`,
    ),
    ...memberWords.flatMap(([group, members]) =>
      members.map(
        ([word, about]) => `complete -c sluice -n '__sluice_just ${group}' -a ${word} -d ${quoted(about)}`,
      ),
    ),
    ...commonOptions.map((one) => optionLine(null, one)),
    ...bareOptions.map((one) => optionLine('__sluice_just', one)),
  ];
}

function commandLines({ name, words, isOpen, options }: (typeof completed)[number]): string[] {
  return [
    ...words.flatMap((takes, at) => {
      if (takes === 'text') return [];
      const test = isOpen && at === words.length - 1 ? '__sluice_from' : '__sluice_at';
      return [`complete -c sluice -n '${test} ${at} ${name}' ${offer(takes)}`];
    }),
    ...options.map((one) => optionLine(`__sluice_in ${name}`, one)),
  ];
}

function optionLine(condition: string | null, { name, value, takes, about }: OptionManual): string {
  const needs = value === null ? '' : ` ${takes === 'file' ? '-r' : '-x'} ${offer(takes)}`.trimEnd();
  const where = condition === null ? '' : ` -n ${quoted(condition)}`;
  return `complete -c sluice${where} -l ${name}${needs} -d ${quoted(about)}`;
}

function offer(takes: Takes): string {
  if (typeof takes !== 'string') return `-a ${quoted(takes.join(' '))}`;
  switch (takes) {
    case 'file':
      return '-F';
    case 'folder':
      return "-a '(__fish_complete_directories)'";
    case 'user':
      return "-a '(__fish_complete_users)'";
    case 'quarantineId':
      return "-a '(__sluice_ids)'";
    case 'text':
      return '';
  }
}

function quoted(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}
