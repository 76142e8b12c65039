ALTER TABLE `my-project`.`shop_green`.`raw_log` ADD COLUMN IF NOT EXISTS `eventId` STRING, ADD COLUMN IF NOT EXISTS `timestamp` TIMESTAMP;

ALTER TABLE `my-project`.`shop_green`.`raw_log` SET OPTIONS (partition_expiration_days = 31);
