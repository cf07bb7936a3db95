/**
 * completion-bash — the script for bash 4.4 and newer; it needs no bash-completion.
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
import { commonOptions, type OptionManual } from './options.ts';

/** The script. */
export function bashScript(): string {
  return `# bash completion for sluice, made by "sluice completion bash".

_sluice_ids() {
    timeout 2 "$@" ${listWords} 2>/dev/null </dev/null |
        ${idsOfJson}
}

_sluice() {
    local line=\${COMP_LINE:0:COMP_POINT} option='' command='' wanted='' word at
    local -a typed=() given=() config=()
    read -ra typed <<<"$line"
    [[ $line != *[[:space:]] ]] || typed+=('')
    local current=\${typed[-1]}
    for word in "\${typed[@]:1:\${#typed[@]}-2}"; do
        if [[ -n $option ]]; then
            [[ $option != --config ]] || config=(--config "$word")
            option=''
        else
            case $word in
                --config=*) config=("$word") ;;
                ${valueOptions.join(' | ')})
                    option=$word ;;
                -*) ;;
                *) given+=("$word") ;;
            esac
        fi
    done
    if [[ -z $option && $current == --*=* ]]; then
        option=\${current%%=*} current=\${current#*=}
    fi
    [[ \${given[0]-} != help ]] || given=("\${given[@]:1}")
    for at in 1 2; do
        case "\${given[*]:0:at}" in
            ${alternatives(completed.map(({ name }) => name))})
                command="\${given[*]:0:at}" given=("\${given[@]:at}") ;;
        esac
        [[ -z $command ]] || break
    done
    if [[ -n $option ]]; then
        case "$command $option" in
${arms(optionPlaces)}
        esac
    elif [[ $current == -* ]]; then
        case $command in
            '') wanted='${names(lonelyOptions)}' ;;
${completed.map(({ name, options }) => `            '${name}') wanted='${names([...options, ...commonOptions])}' ;;`).join('\n')}
        esac
    elif [[ -z $command ]]; then
        case "\${given[*]}" in
            '') wanted='${firstWords.map(([word]) => word).join(' ')}' ;;
${memberWords.map(([group, members]) => `            '${group}') wanted='${members.map(([word]) => word).join(' ')}' ;;`).join('\n')}
        esac
    else
        case "$command:\${#given[@]}" in
${arms(wordPlaces)}
        esac
    fi
    COMPREPLY=()
    case $wanted in
        '') ;;
        :file) compopt -o default ;;
        :folder) compopt -o dirnames ;;
        :user) mapfile -t COMPREPLY < <(compgen -u -- "$current") ;;
        :quarantineId)
            mapfile -t COMPREPLY < <(compgen -W "$(_sluice_ids "$1" "\${config[@]}")" -- "$current") ;;
        *) mapfile -t COMPREPLY < <(compgen -W "$wanted" -- "$current") ;;
    esac
}

complete -F _sluice sluice
`;
}

/** Arms of a case that say what is wanted where. */
function arms(places: readonly Places[]): string {
  return places
    .map(({ patterns, takes }) => {
      const wanted = typeof takes === 'string' ? `:${takes}` : takes.join(' ');
      return `            ${patterns.join(' | ')})\n                wanted='${wanted}' ;;`;
    })
    .join('\n');
}

function names(options: readonly OptionManual[]): string {
  return options.map(({ name }) => `--${name}`).join(' ');
}

function alternatives(words: readonly string[]): string {
  return words.map((word) => `'${word}'`).join(' | ');
}
