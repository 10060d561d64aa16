//! WHERE IT MEETS PINGORA. The only folder that names `pingora`: phases in, flows asked, answers out.
