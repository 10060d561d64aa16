//! What to try next, as lines to copy.

use std::path::Path;

use super::{CLIENT, Places};
use crate::demo::ACCESS_LOG;
use crate::demo::terminal::Terminal;

/// Says what is up and how to try it by hand. `folder`: the demo's own.
pub(in crate::demo) fn say_where_to_go(places: &Places, folder: &Path, terminal: &mut Terminal) {
    let Places { gateway, admin, authorization_server, .. } = places;
    terminal.heading(&format!("Now you: open {gateway}/ in Firefox or Chromium (Ctrl-C ends the demo)"));
    terminal.line(format!(
        "  Or by hand:

  curl -i {gateway}/api/hello
  curl -s {gateway}/api/public/hello
  curl -s {admin}/metrics | grep ^tollgate_
  tail -f {}

  Sign in as Alice, keep the cookie in jar.txt, and call with the access token:

  go() {{ curl -s -o /dev/null -b jar.txt -c jar.txt \\
    -H Sec-Fetch-Mode:navigate -H Sec-Fetch-Dest:document \"$@\"; }}
  THERE=$(go -w '%{{redirect_url}}' '{gateway}/oauth/login?client_id={CLIENT}')
  BACK=$(curl -s -o /dev/null -w '%{{redirect_url}}' {authorization_server}/authorize \\
    -d user=alice -d \"${{THERE#*\\?}}\")
  go \"$BACK\"
  TOKEN=$(curl -s -b jar.txt -c jar.txt {gateway}/oauth/token \\
    -H 'Origin: {gateway}' -d grant_type=refresh_token -d client_id={CLIENT} |
    sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')
  curl -s -H \"Authorization: Bearer $TOKEN\" {gateway}/api/users/alice

  Suspend her, with the token of the admin listener, and watch open pages:

  ADMIN=operator:$(cat {})
  curl -s -u $ADMIN {admin}/revocations -H 'Content-Type: application/json' \\
    -d '{{\"kind\":\"sub\",\"value\":\"alice\",\"block\":true}}'
",
        folder.join(ACCESS_LOG).display(),
        folder.join("data/admin.token").display(),
    ));
}
