
# Names of volumes.
set -l named extend activate deactivate merge remove protect expire
complete -c cowherd -n "__fish_seen_subcommand_from snapshot; and __fish_seen_subcommand_from create" -f -a "(cowherd complete-names --kind volumes 2>/dev/null)"
complete -c cowherd -n "__fish_seen_subcommand_from snapshot; and __fish_seen_subcommand_from $named" -f -a "(cowherd complete-names --kind snapshots 2>/dev/null)"
complete -c cowherd -n "__fish_seen_subcommand_from snapshot; and __fish_seen_subcommand_from list" -l origin -x -a "(cowherd complete-names --kind volumes 2>/dev/null)"
