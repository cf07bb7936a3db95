/**
 * completion-zsh — the script for zsh: a function to autoload, or a file to source behind compinit.
 */
import {
  completed,
  firstWords,
  idsOfJson,
  listWords,
  lonelyOptions,
  memberWords,
  optionPlaces,
  type Places,
  valueOptions,
  wordPlaces,
} from './completion-vocabulary.ts';
import { commonOptions, type OptionManual, type Takes } from './options.ts';

/** The script. */
export function zshScript(): string {
  return `#compdef sluice
# zsh completion for sluice, made by "sluice completion zsh".

_sluice_ids() {
    local -a ids
    ids=(\${(f)"$(timeout 2 "$@" ${listWords} 2>/dev/null </dev/null |
        ${idsOfJson})"})
    (( $#ids )) && compadd -a ids
}

_sluice() {
    local option='' command='' word at
    local -a given config wanted
    for word in "\${(@Q)words[2,CURRENT-1]}"; do
        if [[ -n $option ]]; then
            [[ $option != --config ]] || config=(--config "$word")
            option=''
        else
            case $word in
                (--config=*) config=("$word") ;;
                (${valueOptions.join('|')})
                    option=$word ;;
                (-*) ;;
                (*) given+=("$word") ;;
            esac
        fi
    done
    if [[ -z $option && $PREFIX == --*=* ]]; then
        option=\${PREFIX%%=*}
        compset -P '*='
    fi
    [[ $given[1] != help ]] || shift given
    for at in 1 2; do
        case "$given[1,at]" in
            (${completed.map(({ name }) => quoted(name)).join('|')})
                command="$given[1,at]"
                shift at given
                break ;;
        esac
    done
    if [[ -n $option ]]; then
        case "$command $option" in
${arms(optionPlaces)}
        esac
    elif [[ $PREFIX == -* ]]; then
        case $command in
            ('') wanted=(${optionWords(lonelyOptions)}) ;;
            (*) wanted=(${optionWords(commonOptions)}) ;;
        esac
        case $command in
${completed.flatMap(({ name, options }) => (options.length === 0 ? [] : [`            (${quoted(name)}) wanted+=(${optionWords(options)}) ;;`])).join('\n')}
        esac
        _describe -o option wanted
    elif [[ -z $command ]]; then
        case "$given" in
            ('') wanted=(${described(firstWords)}) ;;
${memberWords.map(([group, members]) => `            (${quoted(group)}) wanted=(${described(members)}) ;;`).join('\n')}
        esac
        _describe command wanted
    else
        case "$command:$#given" in
${arms(wordPlaces)}
        esac
    fi
}

if [[ $funcstack[1] == _sluice ]]; then
    _sluice "$@"
else
    compdef _sluice sluice
fi
`;
}

function arms(places: readonly Places[]): string {
  return places
    .map(({ patterns, takes }) => `            (${patterns.join('|')})\n                ${offer(takes)} ;;`)
    .join('\n');
}

function offer(takes: Takes): string {
  if (typeof takes !== 'string') return `compadd -- ${takes.join(' ')}`;
  switch (takes) {
    case 'file':
      return '_files';
    case 'folder':
      return '_files -/';
    case 'user':
      return '_users';
    case 'quarantineId':
      return '_sluice_ids $words[1] $config';
    case 'text':
      return ':';
  }
}

function optionWords(options: readonly OptionManual[]): string {
  return described(options.map(({ name, about }) => [`--${name}`, about] as const));
}

function described(words: readonly (readonly [string, string])[]): string {
  return `\n${words.map(([word, about]) => `                ${quoted(`${word}:${about}`)}`).join('\n')}\n            `;
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
