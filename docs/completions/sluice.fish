# fish completion for sluice, made by "sluice completion fish".

function __sluice_given -d 'words before the cursor that are no options'
    set -l words
    set -l skip no
    for word in (commandline -opc)[2..-1]
        if test $skip = yes
            set skip no
            continue
        end
        switch $word
            case --config --to --from --limit --before --output --all-matching --confirm --scanners --feed --part --role --primary --recipient --probe --clamd-config --postfix-config --spamd-user --spamd-config --sql --write --node
                set skip yes
            case '-*'
            case '*'
                set -a words $word
        end
    end
    if test "$words[1]" = help
        set -e words[1]
    end
    string join \n -- $words
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
    timeout 2 $words[1] quarantine list --limit 1000 --json $config 2>/dev/null </dev/null |
        grep -o '"quarantineId":"[0-9a-f]\{32\}"' | cut -d '"' -f 4 | sort -u
end

complete -c sluice -f
complete -c sluice -n __sluice_just -a run -d 'take mail from Postfix, filter it, give it back'
complete -c sluice -n __sluice_just -a check -d 'find what is wrong around Sluice, and how to mend it'
complete -c sluice -n __sluice_just -a postfix -d 'what main.cf and master.cf need for this configuration'
complete -c sluice -n __sluice_just -a scan -d 'verdict and explanation for one message; nothing is moved'
complete -c sluice -n __sluice_just -a history -d 'what the filter did with every message, for each recipient'
complete -c sluice -n __sluice_just -a completion -d 'a script with which the shell completes all this'
complete -c sluice -n __sluice_just -a policy -d 'what each recipient gets, and why'
complete -c sluice -n __sluice_just -a quarantine -d 'look at held messages, and decide about them'
complete -c sluice -n __sluice_just -a queue -d 'scans on their way to workers'
complete -c sluice -n __sluice_just -a bayes -d 'SpamAssassin\'s Bayes database: snapshots, and the way back'
complete -c sluice -n __sluice_just -a import -d 'take over another filter\'s settings'
complete -c sluice -n __sluice_just -a help -d 'tell about a command'
complete -c sluice -n '__sluice_just policy' -a explain -d 'each value for a recipient or a sender, and where it was set'
complete -c sluice -n '__sluice_just policy' -a check -d 'read sluice.yaml and policies.yaml, print every problem'
complete -c sluice -n '__sluice_just quarantine' -a list -d 'what waits for a decision, newest first'
complete -c sluice -n '__sluice_just quarantine' -a search -d 'held messages by words, sender, score, time'
complete -c sluice -n '__sluice_just quarantine' -a show -d 'why it is held, for whom, and what happened since'
complete -c sluice -n '__sluice_just quarantine' -a release -d 'give held messages back to Postfix'
complete -c sluice -n '__sluice_just quarantine' -a delete -d 'delete held messages'
complete -c sluice -n '__sluice_just quarantine' -a learn -d 'teach SpamAssassin: spam, ham, or forget it again'
complete -c sluice -n '__sluice_just quarantine' -a export -d 'the message itself, as it was scanned'
complete -c sluice -n '__sluice_just quarantine' -a audit -d 'who did what, and what came of it'
complete -c sluice -n '__sluice_just queue' -a status -d 'what waits in Redis for workers, and which workers are alive'
complete -c sluice -n '__sluice_just bayes' -a status -d 'which Bayes database is in place here, which snapshots are kept, and how the other nodes stand'
complete -c sluice -n '__sluice_just bayes' -a export -d 'take a snapshot of the Bayes database, and keep it'
complete -c sluice -n '__sluice_just bayes' -a restore -d 'put a snapshot in place of the Bayes database'
complete -c sluice -n '__sluice_just bayes' -a rollback -d 'put the Bayes database back that was there before the last restore'
complete -c sluice -n '__sluice_just bayes' -a answer -d 'answer one question of the other node about held mail and lessons (started by bayes receive and send)'
complete -c sluice -n '__sluice_just bayes' -a sync -d 'bring the Bayes database to the backup nodes'
complete -c sluice -n '__sluice_just bayes' -a fetch -d 'get the Bayes database from the primary, where only this node may connect'
complete -c sluice -n '__sluice_just bayes' -a parity -d 'compare how this node and the other ones judge the same mail'
complete -c sluice -n '__sluice_just bayes' -a setup -d 'show and check each piece that two nodes need for the Bayes sync'
complete -c sluice -n '__sluice_just bayes' -a receive -d 'answer the primary over ssh: a forced command, on a backup'
complete -c sluice -n '__sluice_just bayes' -a send -d 'answer a backup over ssh: a forced command, on a primary'
complete -c sluice -n '__sluice_just import' -a amavis -d 'amavisd-new\'s settings as a policies.yaml'
complete -c sluice -l config -r -F -d 'the configuration; default: what SLUICE_CONFIG names, then /etc/sluice/sluice.yaml, then the embedded defaults'
complete -c sluice -l json -d 'one JSON value on standard output, for programs'
complete -c sluice -l help -d 'tell about the command, and do nothing'
complete -c sluice -n '__sluice_just' -l version -d 'print the version'
complete -c sluice -n '__sluice_at 0 run' -a 'all filter worker bayes'
complete -c sluice -n '__sluice_in run' -l scanners -x -a 'virus spam virus,spam' -d 'what this worker scans for; default: every scanner that is configured here'
complete -c sluice -n '__sluice_in check' -l probe -x -d 'also send one message to ADDRESS behind the filter, and prove that it does not come back'
complete -c sluice -n '__sluice_in check' -l clamd-config -r -F -d 'default: /etc/clamav/clamd.conf, if the clamd that is asked uses it'
complete -c sluice -n '__sluice_in check' -l postfix-config -x -a '(__fish_complete_directories)' -d 'default: /etc/postfix'
complete -c sluice -n '__sluice_in check' -l spamd-user -x -a '(__fish_complete_users)' -d 'whose Bayes database sa-learn shall read; default: the user that spamd works as'
complete -c sluice -n '__sluice_in check' -l spamd-config -x -a '(__fish_complete_directories)' -d 'its site configuration; default: the one that spamd was started with'
complete -c sluice -n '__sluice_in postfix' -l feed -x -a 'lmtp smtp' -d 'lmtp (default): one reply per recipient, needs listen.lmtp; smtp: one for all, needs listen.smtp'
complete -c sluice -n '__sluice_in postfix' -l part -x -a 'master main commands bypass removal' -d 'that text alone; master and main are to be appended to their files, in this order, with "postfix reload" between them; commands is to be run then; bypass, when run, has mail go past Sluice, and removal takes it away altogether'
complete -c sluice -n '__sluice_in postfix' -l role -x -a 'primary backup' -d 'backup: with what a backup MX needs; default: role in sluice.yaml'
complete -c sluice -n '__sluice_in postfix' -l primary -x -d 'of a backup: the primary\'s address; default: bayes.primary, else a name to be filled in'
complete -c sluice -n '__sluice_at 0 scan' -F
complete -c sluice -n '__sluice_in scan' -l to -x -d 'decide for this recipient; default: for "anybody", whom the default policy decides about'
complete -c sluice -n '__sluice_in scan' -l from -x -d 'the envelope sender; default: the null sender, as of a bounce'
complete -c sluice -n '__sluice_in policy explain' -l outbound -d 'for what this sender of your own site sends, when it comes in over listen.outbound'
complete -c sluice -n '__sluice_in quarantine list' -l all -d 'also what was released, deleted or has expired'
complete -c sluice -n '__sluice_in quarantine list' -l limit -x -d 'so many messages at most; default 50'
complete -c sluice -n '__sluice_in quarantine list' -l before -x -a '(__sluice_ids)' -d 'the next page: what was held before this one'
complete -c sluice -n '__sluice_in quarantine search' -l all -d 'also what was released, deleted or has expired'
complete -c sluice -n '__sluice_in quarantine search' -l limit -x -d 'so many messages at most; default 50'
complete -c sluice -n '__sluice_in quarantine search' -l before -x -a '(__sluice_ids)' -d 'the next page: what was held before this one'
complete -c sluice -n '__sluice_at 0 quarantine show' -a '(__sluice_ids)'
complete -c sluice -n '__sluice_from 0 quarantine release' -a '(__sluice_ids)'
complete -c sluice -n '__sluice_in quarantine release' -l recipient -x -d 'only for this original recipient; default: everyone for whom it is held'
complete -c sluice -n '__sluice_in quarantine release' -l to -x -d 'to another address instead; no delivery status is asked for, the held copies stay held'
complete -c sluice -n '__sluice_in quarantine release' -l force -d 'needed where the message is infected'
complete -c sluice -n '__sluice_in quarantine release' -l again -d 'also what an earlier release left unconfirmed, or a backup was moving to its primary, and --to an address that was sent it already: it may arrive twice'
complete -c sluice -n '__sluice_in quarantine release' -l all-matching -x -d 'the copies that wait of all that "quarantine search QUERY" finds; says how many copies there are, and does nothing. With to: in the query only copies for such recipients'
complete -c sluice -n '__sluice_in quarantine release' -l confirm -x -d 'release them, if N is how many copies there are'
complete -c sluice -n '__sluice_from 0 quarantine delete' -a '(__sluice_ids)'
complete -c sluice -n '__sluice_in quarantine delete' -l recipient -x -d 'only this recipient\'s copy'
complete -c sluice -n '__sluice_in quarantine delete' -l all-matching -x -d 'the copies that wait of all that "quarantine search QUERY" finds; says how many copies there are, and does nothing. With to: in the query only copies for such recipients'
complete -c sluice -n '__sluice_in quarantine delete' -l confirm -x -d 'delete them, if N is how many copies there are'
complete -c sluice -n '__sluice_at 0 quarantine learn' -a 'spam ham forget'
complete -c sluice -n '__sluice_from 1 quarantine learn' -a '(__sluice_ids)'
complete -c sluice -n '__sluice_in quarantine learn' -l all-matching -x -d 'all that "quarantine search QUERY" finds; says how many messages there are, and does nothing'
complete -c sluice -n '__sluice_in quarantine learn' -l confirm -x -d 'learn them, if N is how many messages there are'
complete -c sluice -n '__sluice_at 0 quarantine export' -a '(__sluice_ids)'
complete -c sluice -n '__sluice_in quarantine export' -l output -r -F -d 'into this file instead, which must not be there yet'
complete -c sluice -n '__sluice_at 0 quarantine audit' -a '(__sluice_ids)'
complete -c sluice -n '__sluice_in quarantine audit' -l limit -x -d 'so many rows at most; default 50'
complete -c sluice -n '__sluice_in bayes status' -l spamd-user -x -a '(__fish_complete_users)' -d 'whose Bayes database; default: bayes.user, else the user of spamd\'s process'
complete -c sluice -n '__sluice_in bayes status' -l spamd-config -x -a '(__fish_complete_directories)' -d 'SpamAssassin\'s site configuration; default: bayes.siteFolder, else as spamd was started'
complete -c sluice -n '__sluice_in bayes export' -l force -d 'keep it although it is young or has lost messages'
complete -c sluice -n '__sluice_in bayes export' -l spamd-user -x -a '(__fish_complete_users)' -d 'whose Bayes database; default: bayes.user, else the user of spamd\'s process'
complete -c sluice -n '__sluice_in bayes export' -l spamd-config -x -a '(__fish_complete_directories)' -d 'SpamAssassin\'s site configuration; default: bayes.siteFolder, else as spamd was started'
complete -c sluice -n '__sluice_at 0 bayes restore' -a '(__fish_complete_directories)'
complete -c sluice -n '__sluice_in bayes restore' -l force -d 'take a snapshot although a newer one was here, or load the current one again'
complete -c sluice -n '__sluice_in bayes restore' -l spamd-user -x -a '(__fish_complete_users)' -d 'whose Bayes database; default: bayes.user, else the user of spamd\'s process'
complete -c sluice -n '__sluice_in bayes restore' -l spamd-config -x -a '(__fish_complete_directories)' -d 'SpamAssassin\'s site configuration; default: bayes.siteFolder, else as spamd was started'
complete -c sluice -n '__sluice_in bayes rollback' -l spamd-user -x -a '(__fish_complete_users)' -d 'whose Bayes database; default: bayes.user, else the user of spamd\'s process'
complete -c sluice -n '__sluice_in bayes rollback' -l spamd-config -x -a '(__fish_complete_directories)' -d 'SpamAssassin\'s site configuration; default: bayes.siteFolder, else as spamd was started'
complete -c sluice -n '__sluice_in bayes sync' -l now -d 'do it now; needed, as by itself it is done at bayes.sync.at'
complete -c sluice -n '__sluice_in bayes sync' -l node -x -d 'this one of bayes.nodes alone: as it stands there, or its host'
complete -c sluice -n '__sluice_in bayes sync' -l force -d 'send a database that is young or has lost messages, and have it taken although a newer one was there'
complete -c sluice -n '__sluice_in bayes sync' -l spamd-user -x -a '(__fish_complete_users)' -d 'whose Bayes database; default: bayes.user, else the user of spamd\'s process'
complete -c sluice -n '__sluice_in bayes sync' -l spamd-config -x -a '(__fish_complete_directories)' -d 'SpamAssassin\'s site configuration; default: bayes.siteFolder, else as spamd was started'
complete -c sluice -n '__sluice_in bayes fetch' -l force -d 'take a snapshot although a newer one was here'
complete -c sluice -n '__sluice_in bayes fetch' -l spamd-user -x -a '(__fish_complete_users)' -d 'whose Bayes database; default: bayes.user, else the user of spamd\'s process'
complete -c sluice -n '__sluice_in bayes fetch' -l spamd-config -x -a '(__fish_complete_directories)' -d 'SpamAssassin\'s site configuration; default: bayes.siteFolder, else as spamd was started'
complete -c sluice -n '__sluice_in bayes parity' -l node -x -d 'this one of bayes.nodes alone: as it stands there, or its host'
complete -c sluice -n '__sluice_in bayes parity' -l spamd-user -x -a '(__fish_complete_users)' -d 'whose Bayes database; default: bayes.user, else the user of spamd\'s process'
complete -c sluice -n '__sluice_in bayes parity' -l spamd-config -x -a '(__fish_complete_directories)' -d 'SpamAssassin\'s site configuration; default: bayes.siteFolder, else as spamd was started'
complete -c sluice -n '__sluice_in bayes setup' -l keys -d 'make the key where it is missing'
complete -c sluice -n '__sluice_in bayes setup' -l spamd-user -x -a '(__fish_complete_users)' -d 'whose Bayes database; default: bayes.user, else the user of spamd\'s process'
complete -c sluice -n '__sluice_in bayes setup' -l spamd-config -x -a '(__fish_complete_directories)' -d 'SpamAssassin\'s site configuration; default: bayes.siteFolder, else as spamd was started'
complete -c sluice -n '__sluice_in bayes receive' -l spamd-user -x -a '(__fish_complete_users)' -d 'whose Bayes database; default: bayes.user, else the user of spamd\'s process'
complete -c sluice -n '__sluice_in bayes receive' -l spamd-config -x -a '(__fish_complete_directories)' -d 'SpamAssassin\'s site configuration; default: bayes.siteFolder, else as spamd was started'
complete -c sluice -n '__sluice_in bayes send' -l spamd-user -x -a '(__fish_complete_users)' -d 'whose Bayes database; default: bayes.user, else the user of spamd\'s process'
complete -c sluice -n '__sluice_in bayes send' -l spamd-config -x -a '(__fish_complete_directories)' -d 'SpamAssassin\'s site configuration; default: bayes.siteFolder, else as spamd was started'
complete -c sluice -n '__sluice_in history' -l limit -x -d 'so many messages at most; default 50'
complete -c sluice -n '__sluice_in history' -l before -x -d 'the next page; --json shows each message\'s scanId'
complete -c sluice -n '__sluice_from 0 import amavis' -F
complete -c sluice -n '__sluice_in import amavis' -l sql -r -F -d 'the tables users, policy, mailaddr and wblist, dumped by mysqldump, pg_dump or sqlite3'
complete -c sluice -n '__sluice_in import amavis' -l write -r -F -d 'write the policies into a file that is not there yet, instead of printing them'
complete -c sluice -n '__sluice_at 0 completion' -a 'bash zsh fish'
