-- Mails to many come from an address of their own and say how to unsubscribe; both are empty for other letters.
ALTER TABLE mail_outbox ADD COLUMN sender TEXT;
ALTER TABLE mail_outbox ADD COLUMN unsubscribe_url TEXT;
