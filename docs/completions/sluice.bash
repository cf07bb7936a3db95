# bash completion for sluice, made by "sluice completion bash".

_sluice_ids() {
    timeout 2 "$@" quarantine list --limit 1000 --json 2>/dev/null </dev/null |
        grep -o '"quarantineId":"[0-9a-f]\{32\}"' | cut -d '"' -f 4 | sort -u
}

_sluice() {
    local line=${COMP_LINE:0:COMP_POINT} option='' command='' wanted='' word at
    local -a typed=() given=() config=()
    read -ra typed <<<"$line"
    [[ $line != *[[:space:]] ]] || typed+=('')
    local current=${typed[-1]}
    for word in "${typed[@]:1:${#typed[@]}-2}"; do
        if [[ -n $option ]]; then
            [[ $option != --config ]] || config=(--config "$word")
            option=''
        else
            case $word in
                --config=*) config=("$word") ;;
                --config | --to | --from | --limit | --before | --output | --all-matching | --confirm | --scanners | --feed | --part | --role | --primary | --recipient | --probe | --clamd-config | --postfix-config | --spamd-user | --spamd-config | --sql | --write | --node)
                    option=$word ;;
                -*) ;;
                *) given+=("$word") ;;
            esac
        fi
    done
    if [[ -z $option && $current == --*=* ]]; then
        option=${current%%=*} current=${current#*=}
    fi
    [[ ${given[0]-} != help ]] || given=("${given[@]:1}")
    for at in 1 2; do
        case "${given[*]:0:at}" in
            'run' | 'check' | 'postfix' | 'scan' | 'policy explain' | 'policy check' | 'quarantine list' | 'quarantine search' | 'quarantine show' | 'quarantine release' | 'quarantine delete' | 'quarantine learn' | 'quarantine export' | 'quarantine audit' | 'queue status' | 'bayes status' | 'bayes export' | 'bayes restore' | 'bayes rollback' | 'bayes answer' | 'bayes sync' | 'bayes fetch' | 'bayes parity' | 'bayes setup' | 'bayes receive' | 'bayes send' | 'history' | 'import amavis' | 'completion')
                command="${given[*]:0:at}" given=("${given[@]:at}") ;;
        esac
        [[ -z $command ]] || break
    done
    if [[ -n $option ]]; then
        case "$command $option" in
            *' --config')
                wanted=':file' ;;
            'run --scanners')
                wanted='virus spam virus,spam' ;;
            'check --clamd-config')
                wanted=':file' ;;
            'check --postfix-config')
                wanted=':folder' ;;
            'check --spamd-user')
                wanted=':user' ;;
            'check --spamd-config')
                wanted=':folder' ;;
            'postfix --feed')
                wanted='lmtp smtp' ;;
            'postfix --part')
                wanted='master main commands bypass removal' ;;
            'postfix --role')
                wanted='primary backup' ;;
            'quarantine list --before' | 'quarantine search --before')
                wanted=':quarantineId' ;;
            'quarantine export --output')
                wanted=':file' ;;
            'bayes status --spamd-user')
                wanted=':user' ;;
            'bayes status --spamd-config')
                wanted=':folder' ;;
            'bayes export --spamd-user')
                wanted=':user' ;;
            'bayes export --spamd-config')
                wanted=':folder' ;;
            'bayes restore --spamd-user')
                wanted=':user' ;;
            'bayes restore --spamd-config')
                wanted=':folder' ;;
            'bayes rollback --spamd-user')
                wanted=':user' ;;
            'bayes rollback --spamd-config')
                wanted=':folder' ;;
            'bayes sync --spamd-user')
                wanted=':user' ;;
            'bayes sync --spamd-config')
                wanted=':folder' ;;
            'bayes fetch --spamd-user')
                wanted=':user' ;;
            'bayes fetch --spamd-config')
                wanted=':folder' ;;
            'bayes parity --spamd-user')
                wanted=':user' ;;
            'bayes parity --spamd-config')
                wanted=':folder' ;;
            'bayes setup --spamd-user')
                wanted=':user' ;;
            'bayes setup --spamd-config')
                wanted=':folder' ;;
            'bayes receive --spamd-user')
                wanted=':user' ;;
            'bayes receive --spamd-config')
                wanted=':folder' ;;
            'bayes send --spamd-user')
                wanted=':user' ;;
            'bayes send --spamd-config')
                wanted=':folder' ;;
            'import amavis --sql' | 'import amavis --write')
                wanted=':file' ;;
        esac
    elif [[ $current == -* ]]; then
        case $command in
            '') wanted='--help --version' ;;
            'run') wanted='--scanners --config --json --help' ;;
            'check') wanted='--probe --clamd-config --postfix-config --spamd-user --spamd-config --config --json --help' ;;
            'postfix') wanted='--feed --part --role --primary --config --json --help' ;;
            'scan') wanted='--to --from --config --json --help' ;;
            'policy explain') wanted='--outbound --config --json --help' ;;
            'policy check') wanted='--config --json --help' ;;
            'quarantine list') wanted='--all --limit --before --config --json --help' ;;
            'quarantine search') wanted='--all --limit --before --config --json --help' ;;
            'quarantine show') wanted='--config --json --help' ;;
            'quarantine release') wanted='--recipient --to --force --again --all-matching --confirm --config --json --help' ;;
            'quarantine delete') wanted='--recipient --all-matching --confirm --config --json --help' ;;
            'quarantine learn') wanted='--all-matching --confirm --config --json --help' ;;
            'quarantine export') wanted='--output --config --json --help' ;;
            'quarantine audit') wanted='--limit --config --json --help' ;;
            'queue status') wanted='--config --json --help' ;;
            'bayes status') wanted='--spamd-user --spamd-config --config --json --help' ;;
            'bayes export') wanted='--force --spamd-user --spamd-config --config --json --help' ;;
            'bayes restore') wanted='--force --spamd-user --spamd-config --config --json --help' ;;
            'bayes rollback') wanted='--spamd-user --spamd-config --config --json --help' ;;
            'bayes answer') wanted='--config --json --help' ;;
            'bayes sync') wanted='--now --node --force --spamd-user --spamd-config --config --json --help' ;;
            'bayes fetch') wanted='--force --spamd-user --spamd-config --config --json --help' ;;
            'bayes parity') wanted='--node --spamd-user --spamd-config --config --json --help' ;;
            'bayes setup') wanted='--keys --spamd-user --spamd-config --config --json --help' ;;
            'bayes receive') wanted='--spamd-user --spamd-config --config --json --help' ;;
            'bayes send') wanted='--spamd-user --spamd-config --config --json --help' ;;
            'history') wanted='--limit --before --config --json --help' ;;
            'import amavis') wanted='--sql --write --config --json --help' ;;
            'completion') wanted='--config --json --help' ;;
        esac
    elif [[ -z $command ]]; then
        case "${given[*]}" in
            '') wanted='run check postfix scan history completion policy quarantine queue bayes import help' ;;
            'policy') wanted='explain check' ;;
            'quarantine') wanted='list search show release delete learn export audit' ;;
            'queue') wanted='status' ;;
            'bayes') wanted='status export restore rollback answer sync fetch parity setup receive send' ;;
            'import') wanted='amavis' ;;
        esac
    else
        case "$command:${#given[@]}" in
            'run:0')
                wanted='all filter worker bayes' ;;
            'scan:0')
                wanted=':file' ;;
            'quarantine show:0')
                wanted=':quarantineId' ;;
            'quarantine learn:0')
                wanted='spam ham forget' ;;
            'quarantine export:0' | 'quarantine audit:0')
                wanted=':quarantineId' ;;
            'bayes restore:0')
                wanted=':folder' ;;
            'completion:0')
                wanted='bash zsh fish' ;;
            'quarantine release:'* | 'quarantine delete:'* | 'quarantine learn:'*)
                wanted=':quarantineId' ;;
            'import amavis:'*)
                wanted=':file' ;;
        esac
    fi
    COMPREPLY=()
    case $wanted in
        '') ;;
        :file) compopt -o default ;;
        :folder) compopt -o dirnames ;;
        :user) mapfile -t COMPREPLY < <(compgen -u -- "$current") ;;
        :quarantineId)
            mapfile -t COMPREPLY < <(compgen -W "$(_sluice_ids "$1" "${config[@]}")" -- "$current") ;;
        *) mapfile -t COMPREPLY < <(compgen -W "$wanted" -- "$current") ;;
    esac
}

complete -F _sluice sluice
